"""The manifest: the authenticated root record of one volume at one time (docs/format-data.md section 7).

One block of kind MANIFEST in an object of its own, sealed to the data key. COMMIT names its digest; everything that a restore
needs follows from it. A MessagePack map, so that a later version may add a field that older readers pass over.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from recoup.engine.records.content import Content
from recoup.engine.records.nodes import ID, Locator, ObjectRef
from recoup.engine.records.tree import WireEntry
from recoup.errors import Integrity

MAX_MANIFEST_BYTES: Final = 8 << 20
MAX_LISTED_ERRORS: Final = 10_000
"""More errors than these are counted, not listed; a run with so many is read from its report."""


class SourceKind(StrEnum):
    DIRECTORY = "directory"
    """The tree's root listing is the source directory's; `root` holds the directory's own attributes."""
    FILE = "file"
    """The tree lists one entry, the file."""
    DEVICE = "device"
    """`device` is the content; there is no tree."""


class Source(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Whose data it is. Empty outside a cluster, where `path` and `host` say what was read."""

    cluster_uid: str = ""
    namespace: str = ""
    namespace_uid: str = ""
    persistent_volume_claim: str = ""
    persistent_volume_claim_uid: str = ""
    storage_class_name: str = ""
    access_modes: tuple[str, ...] = ()
    volume_mode: str = ""
    size: str = ""
    labels: dict[str, str] = {}
    node_affinity: msgspec.Raw = msgspec.Raw(b"\xc0")
    path: str = ""
    host: str = ""


class FileError(msgspec.Struct, frozen=True, rename="camel"):
    """One path that could not be taken as it was. `path` is raw bytes, components joined by slashes."""

    path: bytes
    reason: str
    """Unreadable | Vanished | Changed | Unsupported."""
    message: str


class Totals(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Counts of the recovery point (not of the run)."""

    files: int = 0
    """Entries of every type but directories."""
    directories: int = 0
    bytes: int = 0
    """Sum of the sizes of regular files, a hard-linked one once per name, or the device's size."""


class Run(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which run of which policy made it; empty on the command line."""

    session: bytes = b""
    policy_uid: str = ""
    policy: str = ""
    slot: str = ""
    snapshot_uid: str = ""
    snapshot: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    version: int
    tool: str
    """Name and version of the program that wrote it."""
    kind: SourceKind
    id_key_generation: int
    """Whose K_id the block ids of this point are keyed by."""
    started: int
    """Nanoseconds since 1970, by the mover's clock: informational."""
    finished: int
    consistency: str
    """CrashConsistent (a snapshot) or None (files were read while they may have changed)."""
    source: Source
    run: Run
    totals: Totals
    refs: Locator
    """Root of the refs; a REPLACE in the log stands for it."""
    tree: bytes = b""
    """Block id of the tree's root node."""
    root: WireEntry | None = None
    """Attributes of the source directory; its name is empty."""
    root_blocks: bytes = b""
    """Ids of blocks with long xattr values of `root`."""
    device: Content | None = None
    excludes: tuple[str, ...] = ()
    exclude_caches: bool = False
    one_file_system: bool = False
    errors: tuple[FileError, ...] = ()
    errors_total: int = 0
    parent: bytes = b""
    """Digest of the manifest of the same lineage that this run built on."""


_decode = msgspec.msgpack.Decoder(Manifest).decode
_encode = msgspec.msgpack.Encoder().encode


def encode_manifest(manifest: Manifest) -> bytes:
    return _encode(manifest)


def decode_manifest(data: bytes | memoryview, name: str) -> Manifest:
    """Decode the block of a manifest object. Raises Integrity naming `name`."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise Integrity(f"manifest {name} is larger than the format allows")
    try:
        manifest = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Integrity(f"manifest {name} is not well-formed: {error}") from None
    if manifest.version != 1:
        raise Integrity(f"manifest {name} has version {manifest.version}; this program reads version 1: update it")
    device = manifest.kind is SourceKind.DEVICE
    if device != (manifest.device is not None) or device != (len(manifest.tree) != ID):
        raise Integrity(f"manifest {name} holds neither a tree nor a device")
    if manifest.kind is SourceKind.DIRECTORY and manifest.root is None:
        raise Integrity(f"manifest {name} lacks the attributes of its root directory")
    manifest.refs.checked()
    return manifest


__all__ = ["FileError", "Manifest", "ObjectRef", "Run", "Source", "SourceKind", "Totals", "decode_manifest", "encode_manifest"]
