"""Names of objects in a location (docs/format.md section 1).

Pure text. A name is relative to the location's prefix; it holds ids and digests only, never anything that a tenant chose.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, cast

from blake3 import blake3

from recoup.engine.format.kinds import DIGEST_BYTES, ID_BYTES, Area
from recoup.errors import Integrity

LOCATION_DESCRIPTOR: Final = "recoup"
VAULTS: Final = "v/"

_OBJECT: Final = re.compile(r"v/([0-9a-f]{32})/([dmx])/([0-9a-f]{2})/([0-9a-f]{64})(?:\.([1-9][0-9]{0,8}))?")


_DIGEST = re.compile(r"v/[0-9a-f]{32}/(?:[dmx]/[0-9a-f]{2}/|keyring/[1-9][0-9]{0,9}-)([0-9a-f]{64})(?:\.[1-9][0-9]{0,8})?")


class ObjectName(NamedTuple):
    vault: bytes
    area: Area
    digest: bytes
    incarnation: int


def digest_of(data: bytes | bytearray | memoryview) -> bytes:
    """BLAKE3-256 of stored bytes: what an object is named by."""
    return blake3(data).digest()


def vault_prefix(vault: bytes) -> str:
    if len(vault) != ID_BYTES:
        raise ValueError(f"a vault id has {ID_BYTES} bytes, not {len(vault)}")
    return f"{VAULTS}{vault.hex()}/"


def object_name(vault: bytes, area: Area, digest: bytes, incarnation: int = 0) -> str:
    """Name a sealed or plain object by the digest of its stored bytes; incarnation 0 is not written."""
    if len(digest) != DIGEST_BYTES:
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    text = digest.hex()
    suffix = f".{incarnation}" if incarnation else ""
    return f"{vault_prefix(vault)}{area}/{text[:2]}/{text}{suffix}"


def parse_object_name(name: str) -> ObjectName:
    """Undo `object_name`. Raises Integrity for anything else: names come from listings, which are hostile."""
    match = _OBJECT.fullmatch(name)
    if match is None or match[3] != match[4][:2]:
        raise Integrity(f"{name!r} is not the name of an object")
    return ObjectName(bytes.fromhex(match[1]), cast("Area", match[2]), bytes.fromhex(match[4]), int(match[5] or 0))


def digest_in(name: str) -> bytes | None:
    """The digest that the name of an object or a keyring says; None for every other name."""
    match = _DIGEST.fullmatch(name)
    return bytes.fromhex(match[1]) if match else None


def log_name(vault: bytes, seq: int) -> str:
    return f"{vault_prefix(vault)}log/{seq:016x}"


def checkpoint_name(vault: bytes, seq: int) -> str:
    return f"{vault_prefix(vault)}checkpoint/{seq:016x}"


def descriptor_name(vault: bytes, number: int) -> str:
    return f"{vault_prefix(vault)}descriptor/{number}"


def keyring_name(vault: bytes, generation: int, digest: bytes) -> str:
    return f"{vault_prefix(vault)}keyring/{generation}-{digest.hex()}"
