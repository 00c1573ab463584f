"""Hostile input at scale: mutated, truncated and random files must raise only ganic's own errors.

    python benchmarks/fuzz.py [COUNT]      # 20,000 by default; about two minutes

Every file is verified and decoded by a process that may use 1 GB of memory and is interrupted after 10 s
for each. Three in ten have a right checksum: their boxes, sizes or streams are others, and what the
checksum would find must be found without it. Prints how many were refused with which error, and how many
decoded, those with a wrong checksum to exactly the original symbols; stops with a non-zero status at the
first that does neither.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from ganic.bitstream import pack, unpack

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
MEMORY = 10**9
SECONDS = 10


def mutants(
    covered: Mapping[bytes, list[bytes]], count: int, rng: random.Random
) -> Iterator[tuple[bytes, bytes | None]]:
    """(hostile file, the file it was made from); ``covered``: what of its symbols each checksum covers."""
    files = list(covered)
    for number in range(count):
        original = rng.choice(files)
        data = bytearray(original)
        kind = number % 10
        if kind == 0:
            yield rng.randbytes(rng.randrange(200)), None
        elif kind == 1:
            yield bytes(data[:6]) + rng.randbytes(rng.randrange(200)), None
        elif kind == 2:
            yield bytes(data[: rng.randrange(len(data))]), original
        elif kind == 3:
            at = rng.randrange(len(data))
            yield bytes(data[:at]) + rng.randbytes(rng.randint(1, 8)) + bytes(data[at:]), original
        elif kind == 4:  # the header: sizes, lengths, counts
            data[rng.randrange(12, min(30, len(data)))] = rng.randrange(256)
            yield bytes(data), original
        elif kind < 7:
            for _ in range(1 << rng.randrange(5)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            yield bytes(data), original
        else:
            yield repaired(original, covered[original], rng), None


def repaired(original: bytes, symbols: list[bytes], rng: random.Random) -> bytes:
    """Another file around the same symbols, whose checksum is right: that of what its streams decoded to."""
    file = unpack(original)
    boxes, width, height, streams = dict(file.boxes), file.width, file.height, list(file.streams)
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(5)
        if kind == 0:  # a box, new or damaged
            name = rng.choice(["ALPH", "AREA", "LABL", "iccp", "exif", "xmp_"])
            contents = bytearray(boxes.get(name) or rng.randbytes(rng.randrange(60)))
            if contents:
                contents[rng.randrange(len(contents))] = rng.randrange(256)
            boxes[name] = bytes(contents)
        elif kind == 1 and boxes:
            del boxes[rng.choice(sorted(boxes))]
        elif kind == 2:
            width, height = rng.choice(
                [(height, width), (width + rng.randint(-17, 17), height), (65535, 6103)]
            )
            width = min(max(width, 1), 65535)
        elif kind == 3:
            streams = rng.choice([streams[:-1] or [b""], [*streams, b""], streams[::-1]])
        elif streams[0]:
            streams[0] = bytes([rng.randrange(256)]) + streams[0][1:]
    return pack(file.model_id, width, height, streams, boxes, symbols)


def main(count: int) -> None:
    from ganic.errors import GanicError
    from ganic.extreme.codec import Codec

    codec = Codec.load(GOLDEN / "tiny.safetensors", precision="fp32")
    files = [path.read_bytes() for path in sorted(GOLDEN.glob("*.ganic"))]
    symbols = {file: [tile.canonical() for tile in codec.symbols(file)] for file in files}
    covered = {file: [unpack(file).streams[0][:1], *symbols[file]] for file in files}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    outcomes: Counter[str] = Counter()
    for data, original in mutants(covered, count, random.Random(1)):
        signal.alarm(SECONDS)  # its default action ends the process: a hang is a failure
        try:
            codec.verify(data)
            codec.decode(data)
            decoded = [tile.canonical() for tile in codec.symbols(data)]
        except GanicError as error:
            outcomes[type(error).__name__] += 1
        else:
            if original is not None:
                assert decoded == symbols[original], data.hex()
            outcomes["the original symbols" if original else "another file with a right checksum"] += 1
        signal.alarm(0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for outcome, number in outcomes.most_common():
        print(f"{number:7d}  {outcome}")
    print(f"peak memory {after * 1024 / MEMORY:.2f} x 1 GB (at the start: {before * 1024 / MEMORY:.2f})")
    if after * 1024 > MEMORY:
        sys.exit("more than 1 GB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
