"""Deterministic data for benchmarks, and their mutations. d4 is what the machine has: a copy of its /usr.

The same bytes for the same (scale, seed) on every machine, but for d4. At scale 1:
d1  16 files of 256 MiB that nothing compresses.
d2  200,000 files of 2 to 20 KiB (log-uniform, mean about 8 KiB) in 2,000 directories; text that zstd halves; no duplicates.
d3  one file of 4 GiB in 8 KiB pages: header, rows of ids and text, a fifth free space; one page in ten was never used.
d4  all of /usr but other file systems; programs, libraries, text.
d5  a disk image of 20 GiB with 1 GiB of data in pieces of 64 KiB to 4 MiB, half of it text; the rest is a hole.
A mutation changes 1 %: of the files (and adds and deletes 0.1 %), of the pages, or of the data, spread evenly.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

PAGE = 8192
ROWS = 96
FILES = 200_000
D3_BYTES = 4 << 30
D1_FILES, D1_FILE_BYTES = 16, 256 << 20
D5_BYTES, D5_DATA = 20 << 30, 1 << 30
MIB = 1 << 20
_FILES_PER_FOLDER = 100


class Words:
    """Text-like content from one fixed vocabulary, frequent words first."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"words {seed}")
        syllables = [c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
        vocabulary = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(6000)]
        weights = [1 / (rank + 3) ** 0.7 for rank in range(len(vocabulary))]
        self._stream = rng.choices(vocabulary, weights, k=1 << 18)
        self.snippets = [self.text(rng, 48) for _ in range(1 << 15)]

    def text(self, rng: random.Random, length: int) -> bytes:
        """About a log file: numbers, keys, hexadecimal, prose."""
        words, lines, size = self._stream, [], 0
        last = len(words) - 16
        while size < length:
            at = rng.randrange(last)
            prose = " ".join(words[at : at + rng.randrange(4, 13)])
            line = f"{rng.randrange(100_000)} {words[at]}={rng.getrandbits(40):x} {prose}.\n"
            lines.append(line)
            size += len(line)
        return "".join(lines).encode()[:length]


def make_d1(root: Path, scale: float, seed: int = 1) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for number in range(max(1, round(D1_FILES * scale))):
        rng = random.Random(f"{seed} d1 {number}")
        with (root / f"media-{number:03d}.bin").open("wb", buffering=0) as file:
            for _ in range(D1_FILE_BYTES // (4 * MIB)):
                file.write(rng.randbytes(4 * MIB))


def make_d2(root: Path, scale: float, seed: int = 1) -> None:
    words = Words(seed)
    for number in range(round(FILES * scale)):
        folder = root / f"p{number // 10_000:02d}" / f"s{number // _FILES_PER_FOLDER % 100:03d}"
        if number % _FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True, exist_ok=True)
        _write_document(folder / f"doc-{number:07d}.txt", words, f"{seed} d2 {number}")


def mutate_d2(root: Path, turn: int, seed: int = 1) -> None:
    """Rewrite 1 % of the files, delete 0.1 %, add as many. Another `turn`, another content."""
    words = Words(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    rng = random.Random(f"{seed} pick {turn}")
    changed, replaced = len(files) // 100, len(files) // 1000
    chosen = rng.sample(files, changed + replaced)
    for number, path in enumerate(chosen[:changed]):
        _write_document(path, words, f"{seed} changed {turn} {number}")
    for number, path in enumerate(chosen[changed:]):
        path.unlink()
        _write_document(path.with_name(f"new-{turn:02d}-{number:05d}.txt"), words, f"{seed} new {turn} {number}")


def make_d3(root: Path, scale: float, seed: int = 1) -> None:
    words = Words(seed)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "base.db").open("wb", buffering=4 << 20) as file:
        for number in range(round(D3_BYTES * scale) // PAGE):
            rng = random.Random(f"{seed} page {number}")
            file.write(bytes(PAGE) if rng.random() < 0.1 else _page(rng, number, number, words))


def mutate_d3(root: Path, turn: int, seed: int = 1) -> None:
    """Rewrite 1 % of the pages in place."""
    words = Words(seed)
    path = root / "base.db"
    pages = path.stat().st_size // PAGE
    chosen = sorted(random.Random(f"{seed} pages {turn}").sample(range(pages), pages // 100))
    with path.open("r+b", buffering=0) as file:
        for number in chosen:
            file.seek(number * PAGE)
            file.write(_page(random.Random(f"{seed} changed {turn} {number}"), number, turn * 10**9 + number, words))


def make_d4(root: Path, scale: float, seed: int = 1) -> None:  # there is one /usr
    subprocess.run(["cp", "--archive", "--one-file-system", "/usr", str(root)], check=True)


def make_d5(root: Path, scale: float, seed: int = 1) -> None:
    words, rng = Words(seed), random.Random(f"{seed} d5")
    size, left = round(D5_BYTES * scale) // MIB * MIB, round(D5_DATA * scale)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "disk.raw").open("wb", buffering=0) as file:
        file.truncate(size)
        while left > 0:
            length = rng.choice((64, 128, 256, 512, 1024, 2048, 4096)) << 10
            file.seek(rng.randrange((size - length) // 4096) * 4096)
            file.write(rng.randbytes(length) if rng.random() < 0.5 else words.text(rng, length))
            left -= length


def mutate_d5(root: Path, turn: int, seed: int = 1) -> None:
    """Rewrite 1 % of the data in pieces of 64 KiB, and write some MiB where there was a hole."""
    words, rng = Words(seed), random.Random(f"{seed} d5 {turn}")
    path = root / "disk.raw"
    left = path.stat().st_blocks * 512 // 100
    with path.open("r+b", buffering=0) as file:
        size = os.lseek(file.fileno(), 0, os.SEEK_END)
        pieces = _data_of(file.fileno())
        rng.shuffle(pieces)
        for start, end in pieces:
            file.seek(start)
            left -= file.write(rng.randbytes(min(end - start, 64 << 10)))
            if left <= 0:
                break
        for _ in range(4):
            file.seek(rng.randrange((size - MIB) // 4096) * 4096)
            file.write(words.text(rng, 256 << 10))


def _data_of(fd: int) -> list[tuple[int, int]]:
    """Where a sparse file has data."""
    pieces: list[tuple[int, int]] = []
    end = 0
    with suppress(OSError):  # there is no more data
        while True:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            pieces.append((start, end))
    return pieces


def _write_document(path: Path, words: Words, key: str) -> None:
    rng = random.Random(key)
    path.write_bytes(words.text(rng, int(2048 * 10 ** rng.random())))


def _page(rng: random.Random, number: int, sequence: int, words: Words) -> bytes:
    ids = rng.randbytes(ROWS * 16)
    texts = rng.choices(words.snippets, k=ROWS)
    parts = [struct.pack("<QIIQ", sequence, number, ROWS, 0)]
    for row, text in enumerate(texts):
        parts += (struct.pack("<I", number * ROWS + row), ids[row * 16 : row * 16 + 16], text)
    return b"".join(parts).ljust(PAGE, b"\0")


MAKE = {"d1": make_d1, "d2": make_d2, "d3": make_d3, "d4": make_d4, "d5": make_d5}
MUTATE = {"d2": mutate_d2, "d3": mutate_d3, "d5": mutate_d5}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.datasets", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("set", choices=list(MAKE))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--mutate", type=int, metavar="TURN", help="change 1 %% of what is there instead of making it")
    options = parser.parse_args()
    if options.mutate is not None:
        MUTATE[options.set](options.directory, options.mutate)
    else:
        MAKE[options.set](options.directory, options.scale)


if __name__ == "__main__":
    main()
