"""Make an expensive thing once per machine: keyed by its content, made aside and renamed, by one run while others wait.

For programs and images. What a killed run left half made is removed by the next one that makes the same thing.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KEPT = 4
"""Versions of one thing that stay, the last used: another run, from another checkout, may need its own."""
KEY_LENGTH = 12


def made_once(folder: Path, name: str, key: str, make: Callable[[Path], None], *, suffix: str = "") -> Path:
    """Return `folder/NAME-KEY`; if it is not there, have `make` write it (a file or a folder) to the path it is given."""
    final = path_of(folder, name, key, suffix=suffix)
    if _used(final):
        return final
    with _locked(folder / f"{name}.lock", waiting=f"waiting: another run is making {name}"):
        if _used(final):
            return final
        for half_made in folder.glob(f".{name}-*"):  # its maker is dead: we hold the lock
            _remove(half_made)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as aside:
            made = Path(aside) / "out"
            make(made)
            made.rename(final)
        versions = folder.glob(f"{name}-{'?' * KEY_LENGTH}{suffix}")
        for old in sorted(versions, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            _remove(old)
    return final


def path_of(folder: Path, name: str, key: str, *, suffix: str = "") -> Path:
    return folder / f"{name}-{key[:KEY_LENGTH]}{suffix}"


def _used(path: Path) -> bool:
    """Whether it is there; if so, note that it is in use."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _locked(path: Path, *, waiting: str) -> Iterator[None]:
    """Hold the lock; print `waiting` first if another holds it. The kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
