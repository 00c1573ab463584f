"""Symbols do not depend on the machine: instruction set, threads, precision, BLAS kernels.

Each case decodes every golden file in a fresh process, because these settings are read when libraries load.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganic.extreme.codec import Codec

HERE = Path(__file__).parent

# Run in a process of its own: digests of all symbols and latents, and how far pictures are from the first
# case.
SCRIPT = """
import hashlib, sys
from functools import cache
from pathlib import Path
import numpy as np, torch
if "mkldnn-off" in sys.argv: torch.backends.mkldnn.enabled = False
if "medium-precision" in sys.argv: torch.set_float32_matmul_precision("medium")
if "no-bytes" in sys.argv:
    from ganic import byte_products
    byte_products.supported = lambda: False
torch.set_num_threads(int(sys.argv[2]))
from ganic.extreme.codec import Codec
device = "cuda" if "cuda" in sys.argv else "cpu"
load = cache(lambda folder: Codec.load(folder / "tiny.safetensors", precision=sys.argv[3], device=device))
digest = hashlib.sha256()
means = []
for path in sorted(Path(sys.argv[1]).rglob("*.ganic")):
    codec = load(path.parent)
    data = path.read_bytes()
    for tile in codec.symbols(data):
        digest.update(tile.canonical())
        digest.update(np.ascontiguousarray(tile.latent, dtype="<i4").tobytes())
    means.append(float(np.asarray(codec.decode(data).convert("RGB"), dtype=float).mean()))
print(digest.hexdigest(), *means)
"""

CASES = {
    "sse41": ({"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}, "1", "fp32", ""),
    "avx2": ({"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}, "2", "fp32", ""),
    "avx512": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"}, "1", "fp32", ""),
    "amx": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "2", "bf16", ""),
    "onednn-off": ({}, "1", "fp32", "mkldnn-off"),
    "vnni": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, "2", "auto", ""),
    # Without products of bytes, float32 products of integers decide symbols: by other kernels, in other
    # orders and precisions.
    "mkl-sse": ({"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, "2", "fp32", "no-bytes"),
    "mkl-avx2": ({"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, "1", "fp32", "no-bytes"),
    "mkl-avx512": ({"MKL_ENABLE_INSTRUCTIONS": "AVX512"}, "2", "fp32", "no-bytes"),
    "bf16-products": ({}, "2", "fp32", "no-bytes", "medium-precision"),
}


def decode(environment: dict[str, str], *arguments: str) -> tuple[str, list[float]]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(HERE), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    digest, *means = result.stdout.split()
    return digest, [float(mean) for mean in means]


@pytest.fixture(scope="module")
def reference() -> tuple[str, list[float]]:
    digest, means = hashlib.sha256(), []
    for path in sorted(HERE.rglob("*.ganic")):
        codec = Codec.load(path.parent / "tiny.safetensors", precision="fp32")
        data = path.read_bytes()
        for tile in codec.symbols(data):
            digest.update(tile.canonical())
            digest.update(np.ascontiguousarray(tile.latent, dtype="<i4").tobytes())
        means.append(float(np.asarray(codec.decode(data).convert("RGB"), dtype=float).mean()))
    return digest.hexdigest(), means


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_same_symbols_everywhere(case: str, reference: tuple[str, list[float]]) -> None:
    environment, *arguments = CASES[case]
    digest, means = decode(environment, *arguments)
    assert digest == reference[0]
    assert means == pytest.approx(reference[1], abs=0.5)


def test_the_same_symbols_on_a_gpu(reference: tuple[str, list[float]]) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    for precision in ("fp32", "bf16"):
        digest, means = decode({}, "1", precision, "cuda")
        assert digest == reference[0]
        assert means == pytest.approx(reference[1], abs=0.5)
