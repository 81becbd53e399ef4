"""What a walk leaves out besides what cannot be read: patterns, caches, other file systems."""

from __future__ import annotations

import os
from typing import Final

from recoup.engine.source.files import FileChanged, open_file
from recoup.value import Value

CACHE_TAG: Final = b"CACHEDIR.TAG"
_CACHE_SIGNATURE: Final = b"Signature: 8a477f597d28d172789f06886806bc55"


class WalkRules(Value, frozen=True):
    """Which entries of a directory source are taken. All of them belong to what a lineage cache depends on (`tokens`)."""

    excludes: tuple[str, ...] = ()
    """Globs, see exclude.py."""
    exclude_caches: bool = False
    """Of a directory with a valid CACHEDIR.TAG nothing but the tag is taken."""
    one_file_system: bool = False
    """A directory on another file system than the source is taken empty, another file not at all."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The rules as strings that no pattern can be: arguments of a process hold no NUL."""
        caches = ("\0caches",) if self.exclude_caches else ()
        return (*self.excludes, *caches, *(("\0one-file-system",) if self.one_file_system else ()))


def is_cache(names: list[bytes]) -> bool:
    """Whether the working directory, which has these names, says of itself that it is a cache (bford.info/cachedir)."""
    if CACHE_TAG not in names:
        return False
    try:
        fd = open_file(CACHE_TAG)
    except (OSError, FileChanged):
        return False
    try:
        return os.pread(fd, len(_CACHE_SIGNATURE), 0) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(fd)
