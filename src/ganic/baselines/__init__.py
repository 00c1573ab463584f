"""The codecs people use today, behind one function type, at their best reasonable settings.

    for baseline in available():
        encoded = match_bytes(baseline, image, max_bytes)     # the best file within a number of bytes, or
        None picture = baseline.decode(encoded.data)

All sizes are those of real files without metadata. Everything a codec gains by its own settings is given to
it; what is chosen, and why, stands beside each codec and in `Baseline.settings`.
"""

from __future__ import annotations

from importlib.util import find_spec

from ganic.baselines.baseline import (
    Baseline,
    Decoder,
    Encoded,
    Encoder,
    file_of,
    match_bytes,
    match_or_smallest,
)

__all__ = [
    "Baseline",
    "Decoder",
    "Encoded",
    "Encoder",
    "available",
    "file_of",
    "match_bytes",
    "match_or_smallest",
]


def available() -> tuple[Baseline, ...]:
    """The baselines that work in this installation, oldest format first.

    JPEG 2000, WebP and AVIF may be missing from a Pillow that was built without them; HEIC needs
    `pillow-heif`, JPEG XL `pillow-jxl-plugin`, and db4 wavelets PyWavelets.
    """
    from PIL import features

    from ganic.baselines import classical, optional

    baselines = []
    if find_spec("pywt") is not None:
        from ganic.baselines import wavelet

        baselines.append(wavelet.db4())
    baselines.append(classical.jpeg())
    if features.check("jpg_2000"):
        baselines.append(classical.jpeg2000())
    if features.check("webp"):
        baselines.append(classical.webp())
    if find_spec("pillow_heif") is not None:
        baselines.append(optional.heic())
    if features.check("avif"):
        baselines.append(classical.avif())
    if find_spec("pillow_jxl") is not None:
        baselines.append(optional.jxl())
    return tuple(baselines)
