"""How the process takes memory while it backs up or restores: settings of glibc and of the garbage collector, worth more than any library.

glibc gives every buffer of 128 KiB and more back to the kernel at once; page faults then take as long as the work. Nothing here
changes what is written. Elsewhere than on glibc nothing happens.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MIB: Final = 1 << 20


def tune_allocator() -> None:
    """Keep buffers of up to 32 MiB in the heap, in few arenas. Once per process, before threads start."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * _MIB)
    mallopt(_M_TRIM_THRESHOLD, 64 * _MIB)
    mallopt(_M_ARENA_MAX, 2)


@contextmanager
def without_collector() -> Iterator[None]:
    """The hot path makes millions of objects and no cycles: collecting them costs time and finds nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
