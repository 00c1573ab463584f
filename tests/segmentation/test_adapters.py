"""Networks that the tests build, called and answering as torchvision's do."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ganic.errors import ModelFormatError, ModelMissingError, UsageError
from ganic.labels import COCO
from ganic.segmentation.adapters import IMAGENET_MEAN, IMAGENET_STD, from_onnx, from_torch, from_torchscript
from ganic.segmentation.outputs import instance_labels, semantic_labels
from ganic.segmentation.segmenter import Segmenter

NAMES = ("background", "red", "blue")
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}

# TorchScript is deprecated, but many networks exist only so.
script = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Semantic(nn.Module):
    """torchvision's segmentation models: {"out": scores}. Scores of background, red and blue pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])[:, :, None, None])
            assert self.conv.bias is not None
            self.conv.bias.copy_(torch.tensor([0.5, 0, 0]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(x), "aux": self.conv(x) * 0}


class Instance(nn.Module):
    """torchvision's Mask R-CNN: a list of pictures in [0, 1], a list of objects. Two overlapping halves."""

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        found: list[dict[str, Tensor]] = []
        for picture in pictures:
            height, width = picture.shape[1], picture.shape[2]
            masks = torch.zeros(3, 1, height, width)
            masks[0, 0, : height // 2] = 0.9  # blue
            masks[1, 0, :, : width // 2] = 0.8  # red, with the better score: on top
            masks[2] = 1.0  # everywhere, but hardly sure
            boxes = torch.zeros(3, 4)
            scores = torch.tensor([0.6, 0.95, 0.2])
            labels = torch.tensor([2, 1, 2])
            found.append({"boxes": boxes, "labels": labels, "scores": scores, "masks": masks})
        return found


class Scripted(nn.Module):
    """A scripted detection model returns (losses, detections)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Instance()

    def forward(self, pictures: list[Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        losses: dict[str, Tensor] = {}
        return losses, self.inner(pictures)


def picture(height: int = 24, width: int = 40) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Red, blue and black squares, and their labels."""
    labels = np.random.default_rng(1).integers(0, 3, (height // 8, width // 8)).astype(np.uint8)
    labels = labels.repeat(8, 0).repeat(8, 1)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    return Image.fromarray(colours[labels]), labels


def halves(height: int, width: int) -> NDArray[np.uint8]:
    expected = np.zeros((height, width), np.uint8)
    expected[: height // 2] = 2
    expected[:, : width // 2] = 1
    return expected


def check_semantic(segmenter: Segmenter) -> None:
    image, labels = picture()
    label_map = segmenter(image)
    assert label_map.names == NAMES and np.array_equal(label_map.labels, labels)


def check_instances(segmenter: Segmenter) -> None:
    assert np.array_equal(segmenter(picture()[0]).labels, halves(24, 40))


def test_modules() -> None:
    check_semantic(from_torch(Semantic(), NAMES, **PLAIN))
    check_instances(from_torch(Instance(), NAMES, kind="instance"))
    unsure = from_torch(Instance(), NAMES, kind="instance", threshold=0.7)(picture()[0]).labels
    assert set(np.unique(unsure)) == {0, 1}


def test_names_by_number() -> None:
    """As COCO's: numbers that no class has are left out, the background among them."""
    label_map = from_torch(Instance(), {2: "blue", 4: "far"}, kind="instance")(picture()[0])
    assert label_map.names == ("background", "class 1", "blue", "class 3", "far")
    assert label_map.mask(["blue"]).mean() == 0.25
    assert from_torch(Instance(), COCO, kind="instance").names[90] == "toothbrush"


def test_what_networks_are_given() -> None:
    given: list[Any] = []

    def network(x: Any) -> Any:
        given.append(x)
        return Semantic()(x) if isinstance(x, Tensor) else Instance()(x)

    image = Image.new("RGB", (1200, 60), (255, 51, 0))
    from_torch(network, NAMES, side=30)(image)
    assert given[0].shape == (1, 3, 30, 600) and given[0].dtype == torch.float32
    expected = [(v - m) / s for v, m, s in zip((1, 0.2, 0), IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    torch.testing.assert_close(given[0][0, :, 0, 0], torch.tensor(expected))
    from_torch(network, NAMES, kind="instance")(image)
    assert isinstance(given[1], list) and given[1][0].shape == (3, 60, 1200)
    torch.testing.assert_close(given[1][0][:, 0, 0], torch.tensor([1, 0.2, 0]))


def test_modules_are_put_into_eval_mode() -> None:
    network = nn.Sequential(nn.Dropout(0.99), nn.Conv2d(3, 3, 1)).train()
    segmenter = from_torch(network, NAMES)
    assert not network.training
    assert np.array_equal(segmenter(picture()[0]).labels, segmenter(picture()[0]).labels)


@script
def test_torchscript_files(tmp_path: Path) -> None:
    torch.jit.script(Semantic()).save(str(tmp_path / "semantic.pt"))
    check_semantic(from_torchscript(tmp_path / "semantic.pt", NAMES, **PLAIN))
    torch.jit.script(Scripted()).save(str(tmp_path / "instance.pt"))
    check_instances(from_torchscript(tmp_path / "instance.pt", NAMES, kind="instance"))


def test_exported_modules(tmp_path: Path) -> None:
    sizes = {2: torch.export.Dim("h", min=2, max=4096), 3: torch.export.Dim("w", min=2, max=4096)}
    program = torch.export.export(Semantic(), (torch.zeros(1, 3, 16, 24),), dynamic_shapes={"x": sizes})
    check_semantic(from_torch(program.module(), NAMES, **PLAIN))
    torch.export.save(program, tmp_path / "program.pt2")
    with pytest.raises(ModelFormatError, match=r"torch\.export.*may hold pickles.*torch\.export\.load"):
        from_torchscript(tmp_path / "program.pt2", NAMES)


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (self.path.touch, ())


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_pickles_are_refused_unopened(tmp_path: Path, kind: str) -> None:
    path, sprung = tmp_path / "network.pt", tmp_path / "sprung"
    with path.open("wb") as file:
        if kind == "pickle":
            pickle.dump(Trap(sprung), file)
        else:
            torch.save(Trap(sprung), file, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ModelFormatError, match=r"network\.pt: is not TorchScript .* weights_only=True"):
        from_torchscript(path, NAMES)
    assert not sprung.exists()


def test_files_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"gone\.pt: no such file"):
        from_torchscript(tmp_path / "gone.pt", NAMES)
    with pytest.raises(ModelMissingError, match="no such file"):
        from_torchscript(tmp_path, NAMES)
    path = tmp_path / "cut.pt"
    torch.save({}, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelFormatError):
        from_torchscript(path, NAMES)


def test_arguments() -> None:
    for names in ((), tuple(map(str, range(256)))):
        with pytest.raises(UsageError, match="1 to 255"):
            from_torch(Semantic(), names)
    with pytest.raises(UsageError, match="names: 'N/A' stands for several classes"):
        from_torch(Semantic(), ("background", "N/A", "N/A"))
    with pytest.raises(UsageError, match="no classes"):
        from_torch(Semantic(), {})
    with pytest.raises(UsageError, match="three numbers each"):
        from_torch(Semantic(), NAMES, std=(1, 0, 1))
    with pytest.raises(UsageError, match="256 classes"):
        from_torch(Semantic(), {300: "far"})
    with pytest.raises(UsageError, match="side: 0 pixels"):
        from_torch(Semantic(), NAMES, side=0)
    with pytest.raises(UsageError, match="neither 'semantic' nor 'instance'"):
        from_torch(Semantic(), NAMES, kind="panoptic")  # type: ignore[arg-type]


# --- outputs


def test_scores_of_another_resolution_are_brought_to_the_pictures() -> None:
    scores = torch.zeros(1, 2, 1, 2)
    scores[0, 1] = torch.tensor([[-1.0, 3.0]])  # crosses 0 at a quarter of the way between the centres
    labels = semantic_labels(scores, 2, 16, 2)
    # centres at pixels 3.5 and 11.5: the crossing is at 5.5
    assert labels.tolist() == [[0] * 6 + [1] * 10] * 2


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 1, 2, 3)])
def test_classes_chosen_by_the_network(shape: tuple[int, ...]) -> None:
    numbers = np.array([0, 1, 2, 2, 1, 0]).reshape(shape)
    assert semantic_labels([numbers], 2, 3, 3).tolist() == [[0, 1, 2], [2, 1, 0]]
    assert semantic_labels(torch.from_numpy(numbers), 4, 6, 3)[::2, ::2].tolist() == [[0, 1, 2], [2, 1, 0]]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(1, 4, 2, 2), "scores 4 classes, but there are 3 names"),
        (torch.zeros(2, 3, 2, 2), r"returned torch.float32 \[2, 3, 2, 2\]"),
        (torch.zeros(3, 2, 2), r"scores \[1, classes, h, w\]"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int64), "integer classes"),
        (torch.full((1, 2, 2), 3), "gives classes 3 to 3, but there are 3 names"),
        (torch.full((1, 2, 2), -1), "gives classes -1 to -1"),
        ({"logits": torch.zeros(1, 3, 2, 2)}, "returned a dictionary of logits"),
        ([], 'returned a list, not scores of pixels; for Mask R-CNN and the like pass kind="instance"'),
        (None, "returned a NoneType"),
    ],
)
def test_unusable_scores(output: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        semantic_labels(output, 2, 2, 3)


def test_instances_in_any_order_as_arrays() -> None:
    (found,) = Instance()([torch.zeros(3, 6, 8)])
    arrays = [found[key].numpy() for key in ("boxes", "labels", "scores", "masks")]
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 2)):
        labels = instance_labels([arrays[i] for i in order], 6, 8, 3, 0.5)
        assert np.array_equal(labels, halves(6, 8))


def test_no_instances() -> None:
    nothing = {"masks": torch.zeros(0, 1, 6, 8), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    assert not instance_labels([nothing], 6, 8, 3, 0.5).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([7, 1, 2])}, "gives classes 1 to 7, but there are 3 names"),
        ({"masks": torch.zeros(3, 1, 28, 28)}, "its masks are 28x28, the picture 8x6"),
        ({"scores": torch.zeros(2)}, "do not belong together"),
        ({"masks": None}, "without masks, labels and scores"),
    ],
)
def test_unusable_instances(changes: dict[str, Any], message: str) -> None:
    (found,) = Instance()([torch.zeros(3, 6, 8)])
    with pytest.raises(UsageError, match=message):
        instance_labels([{**found, **changes}], 6, 8, 3, 0.0)


def test_semantic_output_of_an_instance_segmenter() -> None:
    with pytest.raises(UsageError, match="returned a Tensor, without masks"):
        instance_labels(torch.zeros(1, 3, 2, 2), 2, 2, 3, 0.5)


# --- ONNX


def test_without_onnxruntime_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what Python itself finds where it is missing
    with pytest.raises(UsageError, match="pip install onnxruntime"):
        from_onnx("network.onnx", NAMES)


@pytest.fixture
def write_onnx(tmp_path: Path) -> Callable[[list[Any], list[Any], list[Any], list[Any]], Path]:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")

    def write(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
        graph = onnx.helper.make_graph(nodes, "network", inputs, outputs, constants)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        path = tmp_path / "network.onnx"
        onnx.save(model, str(path))
        return path

    return write


@pytest.mark.parametrize("size", [("h", "w"), (24, 40)])
def test_onnx_semantic(write_onnx: Callable[..., Path], size: tuple[Any, Any]) -> None:
    import onnx
    from onnx import TensorProto, helper

    weight = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1]], np.float32)[:, :, None, None]
    path = write_onnx(
        [helper.make_node("Conv", ["x", "weight", "bias"], ["scores"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3, *size])],
        [
            onnx.numpy_helper.from_array(weight, "weight"),
            onnx.numpy_helper.from_array(np.array([0.5, 0, 0], np.float32), "bias"),
        ],
    )
    segmenter = from_onnx(path, NAMES, **PLAIN)
    check_semantic(segmenter)
    image, labels = picture(48, 80)
    assert np.array_equal(
        segmenter(image).labels[3::8, 3::8], labels[3::8, 3::8]
    )  # a fixed size is resized to


def test_onnx_instances(write_onnx: Callable[..., Path]) -> None:
    """Objects that lie in the file, as many as masks: what matters is which output is which."""
    import onnx
    from onnx import TensorProto, helper

    (found,) = Instance()([torch.zeros(3, 24, 40)])
    kinds = {"labels": TensorProto.INT64}
    names = ("boxes", "labels", "scores", "masks")
    path = write_onnx(
        # x is used, so that it stays an input
        [helper.make_node("Identity", ["x"], ["echo"])]
        + [helper.make_node("Identity", [f"{n}_"], [n]) for n in names],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, "h", "w"])],
        [
            helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), list(found[n].shape))
            for n in names
        ],
        [onnx.numpy_helper.from_array(found[n].numpy(), f"{n}_") for n in names],
    )
    check_instances(from_onnx(path, NAMES, kind="instance"))


def test_unusable_onnx(write_onnx: Callable[..., Path], tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    with pytest.raises(ModelMissingError, match="no such file"):
        from_onnx(tmp_path / "gone.onnx", NAMES)
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    with pytest.raises(ModelFormatError, match="onnxruntime cannot load it"):
        from_onnx(tmp_path / "junk.onnx", NAMES)
    path = write_onnx(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "ab"],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 3, 8, 8])],
        [],
    )
    with pytest.raises(ModelFormatError, match=r"has the inputs a .*, b .*; one picture"):
        from_onnx(path, NAMES)
