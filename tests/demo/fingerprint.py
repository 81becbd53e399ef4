"""One line per entry of a tree: everything that a restore has to bring back, read by the standard library alone.

Runs inside a pod (`python3 - ROOT < fingerprint.py`), so it imports nothing of the project. Two trees are the same when their
lines are. `journal` is left out: it grows while the backup runs and is compared as a prefix instead.
"""

import hashlib
import os
import stat
import sys


def holes(path: str, size: int) -> str:
    """The data extents of a file, so that a hole that came back filled is seen."""
    extents = []
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - names may be any bytes
        position = 0
        while position < size:
            try:
                start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            extents.append(f"{start}-{position}")
    return ",".join(extents)


def line(path: str, name: str, first_of: dict[int, str]) -> str:
    """Every attribute of one entry, and its content's digest."""
    info = os.lstat(path)
    facts = [name, oct(info.st_mode), str(info.st_uid), str(info.st_gid), str(info.st_mtime_ns)]
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:  # noqa: PTH123
            facts += [str(info.st_size), hashlib.file_digest(file, "sha256").hexdigest(), holes(path, info.st_size)]
        if info.st_nlink > 1:
            facts.append("same as " + first_of.setdefault(info.st_ino, name))
    if stat.S_ISLNK(info.st_mode):
        facts.append("-> " + os.readlink(path))  # noqa: PTH115
    facts += [f"{key}={os.getxattr(path, key, follow_symlinks=False).hex()}" for key in sorted(os.listxattr(path, follow_symlinks=False))]
    return " ".join(facts)


def main() -> None:
    root = sys.argv[1]
    first_of: dict[int, str] = {}
    names = []
    for folder, folders, files in os.walk(root):
        names += [os.path.relpath(os.path.join(folder, name), root) for name in (*folders, *files)]  # noqa: PTH118
    for name in sorted(set(names) - {"journal", "lost+found"}):
        print(line(os.path.join(root, name), name, first_of))  # noqa: PTH118


main()
