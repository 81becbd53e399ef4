"""Numbers that are format: kinds of objects and of blocks, codecs, limits (docs/format.md section 3).

A number is never given a second meaning. The limits are checked by every decoder before it allocates anything.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

FORMAT_VERSION: Final = 1
SUITE_AES256GCM_HKDF_SHA512: Final = 1

Area = Literal["d", "m", "x"]
"""The three prefixes of a vault, so that the bucket policy of each role can be narrow."""


class Kind(IntEnum):
    """What a sealed object holds; decides its area and the key that seals it."""

    DATA = 1
    TREE = 2
    MANIFEST = 3
    REFS = 4
    INDEX = 5
    CACHE = 6

    @property
    def area(self) -> Area:
        return _AREAS[self]

    @property
    def readable_by_writer(self) -> bool:
        """Sealed under a writer's symmetric key (AES-KWP) instead of by HPKE to the data key."""
        return self in {Kind.REFS, Kind.INDEX, Kind.CACHE}


_AREAS: Final[dict[Kind, Area]] = {
    Kind.DATA: "d",
    Kind.TREE: "m",
    Kind.MANIFEST: "m",
    Kind.REFS: "x",
    Kind.INDEX: "x",
    Kind.CACHE: "x",
}


class BlockKind(IntEnum):
    """What one block holds. Block ids are keyed over this number and the plaintext, so two kinds never share an id."""

    DATA = 1
    """Units of file content or of a block device."""
    TREE = 2
    """A leaf or an inner node of a tree."""
    CONTENT = 3
    """A leaf or an inner node of a content list."""
    DEVICE_MAP = 4
    """A leaf or an inner node of a block device's map."""
    MANIFEST = 5
    REFS = 6
    INDEX = 7
    CACHE = 8
    XATTR = 9
    """The value of an extended attribute that is too long for its tree entry."""
    PADDING = 255


class Codec(IntEnum):
    RAW = 0
    ZSTD = 1


MAX_OBJECT_BYTES: Final = 256 << 20
MAX_BLOCKS: Final = 65_536
"""Blocks of one object, its padding block included."""
MAX_PLAIN_BYTES: Final = 16 << 20
MAX_ENVELOPES: Final = 16
MAX_ENVELOPE_BYTES: Final = 64 << 10
MIN_FOOTER_BYTES: Final = 1 << 10
MAX_FOOTER_BYTES: Final = 4 << 20

ID_BYTES: Final = 16
"""Length of repo, vault, location, object and session ids."""
DIGEST_BYTES: Final = 32
TAG_BYTES: Final = 16
"""The gap that a staged frame leaves behind itself for its AES-GCM tag."""
