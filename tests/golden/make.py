"""Makes new golden files.  Run by hand, only to ADD files: those that exist are never written again.

    python tests/golden/make.py

Beside every file lies its model, ``tiny.safetensors``; that in ``beyond`` codes symbols beyond their tables,
that in ``shaded`` has shades too.

``expected.json`` holds, for every file, digests of the symbols and of the latent that every later version
must decode, and the mean colour of its four quarters, which must stay within a grey level.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ganic import models
from ganic.bitstream import unpack
from ganic.entropy import excess_counts
from ganic.extreme.codec import Codec
from ganic.extreme.compact import LATENT_SCALE
from ganic.extreme.export import shade_parts
from ganic.extreme.lapped import Synthesis
from ganic.extreme.shades import Shades
from ganic.regions import Regions

HERE = Path(__file__).parent


def make_models() -> None:
    """Those in ``beyond`` and ``shaded``, unless they are there: the other one with counts of the excess, and
    with shades, which know no more of the generator than its linear path."""
    file = models.load(HERE / "tiny.safetensors")
    tensors = file.tensors | {"prior.tables.excess": excess_counts()}
    if not (HERE / "beyond" / "tiny.safetensors").exists():
        models.save(HERE / "beyond" / "tiny.safetensors", file.name, file.system, file.config, tensors)
    if not (HERE / "shaded" / "tiny.safetensors").exists():
        synthesis = Synthesis(16, LATENT_SCALE, file.config["generator"].get("taper", 0))
        kernel = torch.from_numpy(file.tensors["generator.linear.conv.weight"]).float()
        synthesis.load_state_dict({"conv.weight": kernel})
        torch.manual_seed(0)
        shades = Shades(16)
        shades.afar.look_at(synthesis)
        torch.nn.init.constant_(shades.index.anchors, 0.4)
        parts, entries = shade_parts(shades, (2.4, 0.6))
        path = HERE / "shaded" / "tiny.safetensors"
        models.save(path, file.name, file.system, file.config | entries, tensors | parts)


def _water() -> Image.Image:
    """Deep blue that fades to black, and a bright disc: no such colours were trained on."""
    y, x = np.mgrid[:96, :160]
    near = np.exp(-np.hypot(x - 60, y - 40) / 9)[..., None]
    blue = np.stack([0 * y, 120 - y, 255 - 2 * y], axis=-1)
    return Image.fromarray((blue + near * (250 - blue)).clip(0, 255).astype(np.uint8))


def _importance(width: int, height: int) -> NDArray[np.float32]:
    """A kept disc that fades out, and a kept corner."""
    y, x = np.mgrid[:height, :width]
    disc = 1.5 - np.hypot(x - 0.4 * width, y - 0.6 * height) / (0.2 * width)
    corner = (x > 0.8 * width) & (y < 0.2 * height)
    return np.maximum(disc.clip(0, 1), corner).astype(np.float32)


def pictures() -> dict[str, tuple[Image.Image, dict[str, Any]]]:
    """Name -> picture and arguments of ``Codec.encode``."""
    photo = Image.open(HERE.parent / "data" / "photo.webp").convert("RGB")
    small = photo.resize((192, 192), Image.Resampling.LANCZOS)
    odd = photo.resize((85, 53), Image.Resampling.LANCZOS)
    odd.putalpha(Image.linear_gradient("L").resize(odd.size))
    odd.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a photograph"
    odd.info["exif"] = exif.tobytes()
    return {
        "photo-low": (small, {"quality": 0.0}),
        "photo-middle": (small, {"quality": 0.5}),
        "photo-high": (small, {"quality": 1.0}),
        "one-pixel": (Image.new("RGB", (1, 1), (200, 30, 90)), {"quality": 0.6}),
        "odd-with-boxes": (odd, {"quality": 0.7}),
        "two-tiles": (photo.resize((2100, 37)), {"quality": 0.4}),
        "uneven": (small, {"quality": 0.6, "regions": Regions(_importance(192, 192))}),
        "beyond/water": (_water(), {"quality": 1.0}),
        "shaded/photo": (photo.resize((300, 200)), {"quality": 0.2}),
        "shaded/two-tiles": (photo.resize((40, 2090)), {"quality": 0.6}),
    }


def facts(codec: Codec, data: bytes) -> dict[str, object]:
    """What ``expected.json`` says about one file."""
    container = unpack(data)
    symbols, latents = hashlib.sha256(), hashlib.sha256()
    for value in codec.symbols(data):
        symbols.update(value.canonical())
        latents.update(np.ascontiguousarray(value.latent, dtype="<i4").tobytes())
    picture = codec.decode(data)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float64)
    half = (-(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2))
    quarters = [
        q
        for rows in (pixels[: half[0]], pixels[-half[0] :])
        for q in (rows[:, : half[1]], rows[:, -half[1] :])
    ]
    return {
        "mode": picture.mode,
        "size": list(picture.size),
        "boxes": {kind: hashlib.sha256(box).hexdigest() for kind, box in container.boxes.items()},
        "symbols": symbols.hexdigest(),
        "latent": latents.hexdigest(),
        "quarters": [[round(float(v), 2) for v in q.mean((0, 1))] for q in quarters],
    }


def main() -> None:
    make_models()
    path = HERE / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    for name, (picture, arguments) in pictures().items():
        file = HERE / f"{name}.ganic"
        if file.exists():
            continue
        buffer = io.BytesIO()
        picture.save(
            buffer, "PNG", icc_profile=picture.info.get("icc_profile"), exif=picture.info.get("exif", b"")
        )
        codec = Codec.load(file.parent / "tiny.safetensors", precision="fp32")
        data = codec.encode(buffer.getvalue(), **arguments)
        file.write_bytes(data)
        expected[name] = facts(codec, data)
    path.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
