"""What the golden repositories were made of. Only `make.py` uses it: what stands in them is told by `expected.json`, not by this."""

from __future__ import annotations

import os
import random
from pathlib import Path

OLD = 1_700_000_000_123_456_789
"""Nanoseconds since 1970."""
DEVICE_BYTES = 130 << 20
"""Three leaves of a device map."""


def fill_folder(root: Path) -> None:
    """Every kind of entry that needs no rights, contents of every scheme; small because most of it compresses well."""
    rng = random.Random(20_261_123)
    for number in range(60):
        folder = root / f"mail-{number % 5}" / "deep" / "er"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"letter-{number:03d}").write_text(f"dear {number}\n" * (number % 9))
    for number in range(8):
        (root / f"photo-{number}").write_bytes(rng.randbytes(4_000))
    (root / "book.txt").write_bytes(b"".join(rng.randbytes(32) * 2048 for _ in range(160)))
    (root / "old-book").write_bytes(rng.randbytes(10_000) + b"another sentence" * 30_000)
    (root / "pages.db").write_bytes(b"".join((b"page %06d " % number) * 372 + bytes(4) for number in range(300)))
    with (root / "sparse").open("wb") as stream:
        stream.truncate(3 << 20)
        stream.seek(1 << 20)
        stream.write(b"island")
    (root / "empty").touch()
    (root / "empty-folder").mkdir()
    (root / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"a name of bytes")
    (root / "link").symlink_to("mail-0/deep")
    os.link(root / "photo-0", root / "photo-0-again")
    os.mkfifo(root / "pipe")
    os.setxattr(root / "empty", "user.short", b"value")
    os.setxattr(root / "photo-1", "user.long", bytes(range(256)) * 3)
    os.chown(root / "photo-2", 1234, 5678)
    (root / "photo-2").chmod(0o4750)
    settle(root)


def change_folder(root: Path, round_: int) -> None:
    rng = random.Random(round_)
    (root / f"photo-{round_}").write_bytes(rng.randbytes(4_000))
    (root / f"new-{round_}").write_text(f"made in round {round_}\n" * 40)
    (root / f"mail-1/deep/er/letter-{round_:03d}1").write_text("one more\n")
    (root / "old-book").unlink(missing_ok=True)
    with (root / "pages.db").open("r+b") as stream:
        stream.seek(round_ * 65_536 + 100)
        stream.write(b"changed in round %d" % round_)
    settle(root)


def fill_device(image: Path) -> None:
    with image.open("wb") as stream:
        stream.truncate(DEVICE_BYTES)
    write_device(image, {0: b"boot" * 3000, (64 << 20) + 100_000: b"middle" * 20_000, DEVICE_BYTES - 5_000: b"tail" * 1250})


def write_device(image: Path, pieces: dict[int, bytes]) -> None:
    with image.open("r+b") as stream:
        for at, data in pieces.items():
            stream.seek(at)
            stream.write(data)


def settle(root: Path) -> None:
    """Times that a restore can be compared with."""
    paths = sorted(root.rglob("*"), reverse=True)
    for number, path in enumerate([*paths, root]):
        os.utime(path, ns=(OLD + number, OLD + number), follow_symlinks=False)
