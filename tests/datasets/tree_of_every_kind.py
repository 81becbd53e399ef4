"""A tree with every kind of file that a volume may hold, deterministic by its seed. Needs root for owners, ACLs, capabilities.

    python -m tests.datasets.tree_of_every_kind DIR [--files 20000] [--sparse-gib 10]

Names that are not UTF-8 or 255 bytes long, paths of 1,000 levels, sparse files, hard links across folders, ACLs, capabilities,
setuid, mode 0000, empty files and folders, symlinks that lead anywhere, fifos, xattrs short and long, strange times.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
ACL_USER = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, who)
    for tag, permissions, who in (
        (1, 6, 0xFFFFFFFF),
        (2, 7, 1234),
        (4, 4, 0xFFFFFFFF),
        (8, 5, 4321),
        (16, 7, 0xFFFFFFFF),
        (32, 0, 0xFFFFFFFF),
    )
)
"""u::rw- u:1234:rwx g::r-- g:4321:r-x m::rwx o::---, as the kernel stores it."""
CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""cap_net_raw+ep."""


@dataclass
class Maker:
    """Makes things below an open directory; never joins paths."""

    root: int
    rng: random.Random
    files: int
    sparse_bytes: int
    extras: bool = False

    def folder(self, *names: bytes) -> int:
        """An open descriptor of a folder that is made as needed. The caller closes it."""
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.root)
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        return fd

    def file(self, folder: int, name: bytes, data: bytes = b"", mode: int = 0o644) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            os.write(fd, data)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def text(self, length: int) -> bytes:
        words = [b"backup", b"restore", b"volume", b"snapshot", b"key", b"%d" % self.rng.randrange(10**6)]
        return b" ".join(self.rng.choices(words, k=length // 6 + 1))[:length]


def make_tree(path: str, *, files: int = 20_000, sparse_bytes: int = 10 << 30, seed: int = 1, extras: bool = False) -> None:
    """Make the tree at `path`, which must be an empty directory or not exist. About `files` entries in all.

    With `extras` also what a restore leaves out unless it is asked for: devices, sockets, `trusted.*` attributes.
    """
    Path(path).mkdir(parents=True, exist_ok=True)
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        maker = Maker(root, random.Random(seed), files, sparse_bytes, extras)
        for make in (_many, _names, _deep, _links, _modes, _attributes, _special, _sparse, _large, _times):
            make(maker)
    finally:
        os.close(root)


def _each(maker: Maker, names: tuple[bytes, ...], action: Callable[[int], None]) -> None:
    folder = maker.folder(*names)
    try:
        action(folder)
    finally:
        os.close(folder)


def _many(maker: Maker) -> None:
    """Most of the entries: small files in folders of very different sizes, one of them large."""
    rng, left = maker.rng, max(maker.files - 1_200, 40)
    sizes = [left // 4]
    while left - sum(sizes) > 0:
        sizes.append(min(rng.choice((0, 1, 2, 5, 30, 200)), left - sum(sizes)))
    for number, count in enumerate(sizes):
        folder = maker.folder(b"many", b"d%04d" % number)
        for index in range(count):
            length = rng.choice((0, 1, 100, 1000, 4096, 9000))
            maker.file(folder, b"f%05d-%x" % (index, rng.getrandbits(24)), maker.text(length))
        os.close(folder)


def _names(maker: Maker) -> None:
    def make(folder: int) -> None:
        for name in (
            b"n" * 255,
            b"\xff\xfe not utf-8 \x80",
            "ünï ☃".encode(),
            b"new\nline",
            b" ",
            b"-rf",
            b"quo\"te'",
            b"back\\slash",
            b"\x01",
        ):
            maker.file(folder, name, name)
        for name in (b"D" * 255, b"\xc3\x28"):
            os.mkdir(name, dir_fd=folder)
        for a, b in ((b"a", b"a.b"), (b"a-", b"a b")):  # order by bytes of components, not of paths
            for name in (a, b):
                os.mkdir(name, dir_fd=folder)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
                maker.file(inner, b"x", b"x")
                os.close(inner)

    _each(maker, (b"names",), make)


def _deep(maker: Maker) -> None:
    """1,000 levels, in names so short that tools which join paths can still follow; with side branches to come back to."""
    fd = maker.folder(b"deep")
    for level in range(1000):
        name = b"%02d" % (level % 100)
        os.mkdir(name, dir_fd=fd)
        if level in {1, 400, 998}:
            maker.file(fd, b"z-at-%d" % level, b"on the way %d" % level)
            os.mkdir(b"z-side", dir_fd=fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    maker.file(fd, b"bottom", b"at the bottom")
    os.close(fd)


def _links(maker: Maker) -> None:
    first, second = maker.folder(b"links", b"one"), maker.folder(b"links", b"two", b"deeper")
    for number, length in enumerate((0, 5, 5000, 300 << 10, 3 * MIB)):
        maker.file(first, b"hard-%d" % number, maker.text(length))
        for folder, name in ((first, b"again-%d" % number), (second, b"far-%d" % number)):
            os.link(b"hard-%d" % number, name, src_dir_fd=first, dst_dir_fd=folder)
    for name, target in (
        (b"dangling", b"nowhere"),
        (b"absolute", b"/etc/passwd"),
        (b"up", b"../../.."),
        (b"odd", b"\xff\n"),
        (b"long", b"t/" * 2000),
    ):
        os.symlink(target, name, dir_fd=second)
    os.link(b"dangling", b"dangling-again", src_dir_fd=second, dst_dir_fd=second, follow_symlinks=False)
    os.close(first)
    os.close(second)


def _modes(maker: Maker) -> None:
    def make(folder: int) -> None:
        for mode in (0, 0o400, 0o4755, 0o2755, 0o6711, 0o777, 0o7000):
            maker.file(folder, b"file-%o" % mode, b"mode", mode)
            os.mkdir(b"dir-%o" % mode, dir_fd=folder)
            os.chmod(b"dir-%o" % mode, mode, dir_fd=folder)
        maker.file(folder, b"owned", b"by others")
        os.chown(b"owned", 1234, 4321, dir_fd=folder)
        maker.file(folder, b"owned-suid", b"by others", 0o755)
        os.chown(b"owned-suid", 65534, 4_000_000_000, dir_fd=folder)
        os.chmod(b"owned-suid", 0o6755, dir_fd=folder)
        os.mkdir(b"empty", dir_fd=folder)

    _each(maker, (b"modes",), make)


def _attributes(maker: Maker) -> None:
    def make(folder: int) -> None:
        for name in (b"acl", b"capability", b"xattrs", b"long-xattr"):
            maker.file(folder, name, b"content of " + name, 0o755)
        os.mkdir(b"acl-dir", dir_fd=folder)
        os.symlink(b"acl", b"link", dir_fd=folder)
        base = b"/proc/self/fd/%d/" % folder
        os.setxattr(base + b"acl", "system.posix_acl_access", ACL_USER)
        os.setxattr(base + b"acl-dir", "system.posix_acl_access", ACL_USER)
        os.setxattr(base + b"acl-dir", "system.posix_acl_default", ACL_USER)
        os.setxattr(base + b"capability", "security.capability", CAP_NET_RAW)
        for number in range(5):
            os.setxattr(base + b"xattrs", f"user.number-{number}", bytes(range(number * 40)))
        os.setxattr(base + b"xattrs", "user.empty", b"")
        try:
            os.setxattr(base + b"long-xattr", "user.long", maker.rng.randbytes(20_000))
        except OSError:  # ext4 holds one block of them; this is what it can have
            os.setxattr(base + b"long-xattr", "user.long", maker.rng.randbytes(3_000))
        if maker.extras:
            os.setxattr(base + b"link", "trusted.link", b"of the link itself", follow_symlinks=False)

    _each(maker, (b"attributes",), make)


def _special(maker: Maker) -> None:
    def make(folder: int) -> None:
        os.mkfifo(b"fifo", 0o640, dir_fd=folder)
        if maker.extras:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"/proc/self/fd/{folder}/socket")
            listener.close()
            os.mknod(b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3), dir_fd=folder)
            os.mknod(b"disk", stat.S_IFBLK | 0o660, os.makedev(7, 200), dir_fd=folder)

    _each(maker, (b"special",), make)


def _sparse(maker: Maker) -> None:
    """Data in extents of odd lengths at odd places; one file begins and ends with a hole, one is nothing but a hole."""

    def make(folder: int) -> None:
        data, extents = min(50 * MIB, maker.sparse_bytes // 4), 40
        fd = os.open(b"sparse", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
        os.truncate(fd, maker.sparse_bytes)
        step = maker.sparse_bytes // (extents + 1) // 4096 * 4096
        for number in range(1, extents + 1):
            os.pwrite(fd, maker.rng.randbytes(data // extents - number), number * step)
        os.close(fd)
        for name, size, begin in ((b"only-hole", 5 * MIB, None), (b"small-sparse", 150_000, 70_000), (b"tail-hole", 2 * MIB, 0)):
            fd = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
            if begin is not None:
                os.pwrite(fd, b"data" * 500, begin)
            os.truncate(fd, size)
            os.close(fd)

    _each(maker, (b"sparse",), make)


def _large(maker: Maker) -> None:
    """Around the sizes at which a file is cut in another way, and long enough for several chunks."""

    def make(folder: int) -> None:
        for size in (64 << 10, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 4 * MIB, 9 * MIB + 7):
            maker.file(folder, b"size-%d" % size, maker.rng.randbytes(size))
            maker.file(folder, b"text-%d" % size, maker.text(size))
        maker.file(folder, b"pages.db", b"".join(maker.rng.randbytes(100).ljust(8192, b"\0") for _ in range(700)) + b"tail")

    _each(maker, (b"large",), make)


def _times(maker: Maker) -> None:
    def make(folder: int) -> None:
        for number, time in enumerate((0, -1_000_000_001, 1, 1_500_000_000_123_456_789, 4_000_000_000_000_000_001)):
            maker.file(folder, b"time-%d" % number, b"t")
            os.utime(b"time-%d" % number, ns=(time, time), dir_fd=folder)
        os.mkdir(b"old-dir", dir_fd=folder)
        os.utime(b"old-dir", ns=(5, 1_000_000_007), dir_fd=folder)

    _each(maker, (b"times",), make)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--sparse-gib", type=float, default=10)
    parser.add_argument("--extras", action="store_true", help="also what a restore leaves out unless asked: devices, sockets, trusted.*")
    options = parser.parse_args()
    make_tree(options.directory, files=options.files, sparse_bytes=round(options.sparse_gib * (1 << 30)), extras=options.extras)


if __name__ == "__main__":
    main()
