from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganic import models
from ganic.extreme.codec import Codec
from ganic.extreme.export import model_tensors, shade_parts
from ganic.extreme.model import Architecture, CompactModel
from ganic.extreme.shades import Shades

TINY = Path(__file__).parents[1] / "golden" / "tiny.safetensors"


@pytest.fixture(scope="session")
def codec() -> Codec:
    """The tiny model of the golden files, in fp32."""
    return Codec.load(TINY, precision="fp32")


CLASSES = ("sky", "road", "car")


UNTRAINED = Architecture(
    latent=16,
    encoder_widths=(8, 8, 12, 16),
    encoder_blocks=(0, 0, 1, 1),
    generator_widths=(16, 12, 8, 8, 4),
    generator_blocks=(1, 1, 0, 0),
    hyper=8,
    features=12,
    hidden=16,
    context=8,
)


def saved(model: CompactModel, architecture: Architecture, path: Path) -> Codec:
    """A codec of a model's file."""
    models.save(path, path.stem, "extreme", architecture.config(), model_tensors(model))
    return Codec.load(path, precision="fp32")


@pytest.fixture(scope="session")
def selective(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """An untrained selective model: pictures mean nothing, but files must be right."""
    torch.manual_seed(5)
    architecture = UNTRAINED.model_copy(update={"classes": CLASSES})
    model = CompactModel(architecture)
    torch.nn.init.normal_(model.generator.out.weight, std=0.1)
    return saved(model, architecture, tmp_path_factory.mktemp("models") / "selective.safetensors")


@pytest.fixture(scope="session")
def conditioned(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """An untrained model whose encoder makes something of the quality that it is told."""
    torch.manual_seed(6)
    model = CompactModel(UNTRAINED)
    torch.nn.init.normal_(model.encoder.out.weight, std=0.05)
    for affine in model.encoder.affines:
        torch.nn.init.normal_(affine.bias.anchors, std=0.02)  # type: ignore[union-attr]
    return saved(model, UNTRAINED, tmp_path_factory.mktemp("models") / "conditioned.safetensors")


STEPS = 2.4, 0.6


def with_shades(model: CompactModel, architecture: Architecture, path: Path) -> Codec:
    """A codec of a model's file that has shades, of a generator that draws its linear path's picture."""
    shades = Shades(architecture.latent)
    shades.afar.look_at(model.generator.linear)
    torch.nn.init.constant_(shades.index.anchors, 0.4)
    tensors, entries = shade_parts(shades, STEPS)
    models.save(path, path.stem, "extreme", architecture.config() | entries, model_tensors(model) | tensors)
    return Codec.load(path, precision="fp32")


@pytest.fixture(scope="session")
def linear() -> CompactModel:
    """An untrained model: a lapped transform."""
    torch.manual_seed(7)
    model = CompactModel(UNTRAINED)
    torch.nn.init.zeros_(model.generator.out.weight)
    torch.nn.init.zeros_(model.encoder.out.weight)
    return model


@pytest.fixture(scope="session")
def plain(linear: CompactModel, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    return saved(linear, UNTRAINED, tmp_path_factory.mktemp("models") / "plain.safetensors")


@pytest.fixture(scope="session")
def shaded(linear: CompactModel, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """The same with shades."""
    return with_shades(linear, UNTRAINED, tmp_path_factory.mktemp("models") / "shaded.safetensors")


@pytest.fixture(scope="session")
def shaded_selective(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    torch.manual_seed(8)
    architecture = UNTRAINED.model_copy(update={"classes": CLASSES})
    path = tmp_path_factory.mktemp("models") / "shaded-selective.safetensors"
    return with_shades(CompactModel(architecture), architecture, path)


@pytest.fixture(scope="session")
def small_architecture() -> Architecture:
    """For objectives, whose losses matter and not their pictures."""
    return Architecture(
        latent=16,
        encoder_widths=(8, 8, 8, 8),
        encoder_blocks=(0, 0, 0, 0),
        generator_widths=(8, 8, 8, 8, 4),
        generator_blocks=(0, 0, 0, 0),
        hyper=4,
        features=8,
        hidden=8,
        context=4,
    )
