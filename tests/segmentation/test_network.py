from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ganic.errors import ModelFormatError
from ganic.segmentation.network import Segnet, fold, full_size, pad
from ganic.segmentation.objective import Settings
from ganic.segmentation.recipe import build
from ganic.segmentation.storage import restored, stored
from ganic.training import recipes

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = {"widths": (8, 8, 8, 12, 12), "blocks": (1, 0, 1, 1, 0), "decoder": (8, 8, 8, 8)}


def tiny(**changes: bool) -> Segnet:
    return Segnet(4, TINY["widths"], TINY["blocks"], TINY["decoder"], **changes)


def lived_in(network: Segnet) -> Segnet:
    """With the statistics and factors that training leaves behind."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
    nn.init.normal_(network.head.weight)
    return network.eval()


@pytest.mark.parametrize("name", ["street_segmenter", "cityscapes_segmenter"])
def test_size_and_cost_of_the_shipped_one(name: str) -> None:
    network = build(recipes.load(RECIPES / f"{name}.toml")).network.eval()
    assert sum(p.numel() for p in network.parameters()) < 3e6
    assert sum(array.nbytes for array in stored(network).values()) < 3e6
    products = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal products
        assert isinstance(module, nn.Conv2d)
        products += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, 128, 96))
    assert logits.shape == (1, len(network.head.bias), 64, 48)
    assert products / (128 * 96) < 12_000


def test_folding_changes_nothing() -> None:
    torch.manual_seed(0)
    network = lived_in(tiny())
    inference = tiny(folded=True)
    inference.load_state_dict(fold(network))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in inference.modules())
    with torch.inference_mode():
        x = torch.rand(2, 3, 64, 96)
        expected = network(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(inference.eval()(x), expected, rtol=1e-4, atol=1e-4)


def test_eight_bits_keep_the_labels_and_overflow_is_noticed() -> None:
    torch.manual_seed(0)
    network = lived_in(tiny())
    arrays = stored(network)
    assert {array.dtype for array in arrays.values()} == {np.dtype("i1"), np.dtype("f4")}
    exact, again = fold(network), restored(arrays)
    assert exact.keys() == again.keys()
    for name, value in exact.items():
        largest = value.abs().flatten(1).amax(1) if value.ndim > 1 else torch.zeros(len(value))
        error = (value - again[name]).abs().reshape(len(value), -1).amax(1)
        assert (error <= largest / 127 * 0.5001).all(), name
    inference = tiny(folded=True)
    inference.load_state_dict(again)
    with torch.inference_mode():
        x = torch.rand(1, 3, 64, 64)
        agree = network(x).argmax(1) == inference(x).argmax(1)
    assert agree.float().mean() > 0.98
    with torch.no_grad():
        network.head.weight[0, 0] = math.inf
    with pytest.raises(ModelFormatError, match=r"head\.weight has values that are not finite"):
        stored(network)


def test_far_away_pixels_decide_nothing() -> None:
    """What lies beyond the margin of a window changes no label in it: nothing pools over the picture."""
    torch.manual_seed(0)
    settings = Settings(classes=("a", "b"), sides=(64, 128))
    network = lived_in(Segnet(2, settings.widths, settings.blocks, settings.decoder))
    x = torch.rand(1, 3, 32, 1024)
    y = x.clone()
    y[..., 640:] = torch.rand(1, 3, 32, 384)
    with torch.inference_mode():
        first, second = network(x), network(y)
    assert torch.equal(first[..., : (640 - 256) // 2], second[..., : (640 - 256) // 2])
    assert not torch.equal(first[..., :320], second[..., :320])


def test_padding_repeats_the_edge() -> None:
    x = torch.rand(1, 3, 33, 64)
    y = pad(x)
    assert y.shape == (1, 3, 64, 64) and torch.equal(y[:, :, :33], x)
    assert torch.equal(y[:, :, 33:], x[:, :, -1:].expand(-1, -1, 31, -1))
    assert pad(torch.rand(1, 3, 1, 1)).shape == (1, 3, 32, 32)


def test_logits_are_brought_to_full_size_about_pixel_centres() -> None:
    logits = torch.tensor([0.0, 4.0])[None, None, None].expand(1, 1, 2, 2)
    assert full_size(logits.bfloat16())[0, 0, 0].tolist() == [0, 1, 3, 4]


def test_lists_of_wrong_length() -> None:
    with pytest.raises(ValueError, match="5 widths, 5 blocks and 4 decoder widths"):
        Segnet(2, (8, 8), (0, 0), (8,))
