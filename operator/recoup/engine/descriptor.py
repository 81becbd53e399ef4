"""Descriptors: what a location is, and by which rules a vault's ids, chunks and keys are made (docs/format.md section 1).

Bytes only. A vault descriptor is believed because the log names its digest; a location descriptor is a hint that INIT confirms.
"""

from __future__ import annotations

from typing import Final

import msgspec

from recoup.engine.format.kinds import FORMAT_VERSION, ID_BYTES, SUITE_AES256GCM_HKDF_SHA512
from recoup.engine.format.names import digest_of
from recoup.engine.format.records import MALFORMED, decode_record, encode_record
from recoup.engine.log.bodies import DescriptorRef
from recoup.errors import Integrity, Invalid

MAX_DESCRIPTOR_BYTES: Final = 64 << 10
_MAGIC: Final = b"RCPD\x00\x01\x00\x00"


class LocationDescriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The object `recoup`: marks a prefix as a location. JSON, so that a person who finds the bucket knows what it is."""

    format: int
    location: str
    """Its id, 32 hex digits."""
    about: str = "Encrypted backups made by Recoup (https://recoup.dev). Do not change or delete objects here by hand."

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.location)


class Chunker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How files are cut into units. All sizes are bytes."""

    algorithm: str = "fastcdc2020"
    minimum: int = 512 << 10
    average: int = 1 << 20
    """As the algorithm counts it: chunks come out at about minimum + average."""
    maximum: int = 4 << 20
    whole_below: int = 256 << 10
    """Smaller files are one unit."""
    fixed: int = 64 << 10
    """Unit of block devices and database files."""


class VaultDescriptor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of one vault. Ids are BLAKE3-256 keyed by K_id over kind and plaintext."""

    number: int
    repo_id: bytes
    vault_id: bytes
    ids: str
    chunker: Chunker
    run_keys: tuple[bytes, ...]
    """Ed25519 public keys whose run tickets count."""
    minimum_suite: int
    """Objects of a lower suite are refused."""


def new_descriptor(number: int, repo_id: bytes, vault_id: bytes, run_keys: tuple[bytes, ...]) -> VaultDescriptor:
    return VaultDescriptor(number, repo_id, vault_id, "blake3-256-keyed", Chunker(), run_keys, SUITE_AES256GCM_HKDF_SHA512)


def encode_location(location_id: bytes) -> bytes:
    return msgspec.json.encode(LocationDescriptor(FORMAT_VERSION, location_id.hex())) + b"\n"


def decode_location(data: bytes, url: str) -> LocationDescriptor:
    """Raises Integrity for anything but a location descriptor, Invalid for one of a newer format."""
    try:
        descriptor = msgspec.json.decode(data, type=LocationDescriptor)
        known = len(descriptor.id) == ID_BYTES
    except MALFORMED:
        known = False
    if not known:
        raise Integrity(f"the object `recoup` at {url} is not a location descriptor: it is damaged, or the prefix is not ours")
    if descriptor.format != FORMAT_VERSION:
        raise Invalid(f"{url} has format version {descriptor.format}: update recoup", reason="NewerFormat")
    return descriptor


def encode_descriptor(descriptor: VaultDescriptor) -> bytes:
    return _MAGIC + encode_record(descriptor)


def reference_to(descriptor: VaultDescriptor) -> DescriptorRef:
    """How a log entry names it."""
    return DescriptorRef(descriptor.number, digest_of(encode_descriptor(descriptor)), descriptor.run_keys)


def decode_descriptor(data: bytes, ref: DescriptorRef, name: str) -> VaultDescriptor:
    """Decode the descriptor that the log names. Raises Integrity if it is not that one, Invalid if this version cannot honour it."""
    if digest_of(data) != ref.digest or data[: len(_MAGIC)] != _MAGIC:
        raise Integrity(f"descriptor {name} is not the one that the log names")
    descriptor = decode_record(data[len(_MAGIC) :], VaultDescriptor, f"descriptor {name}")
    if descriptor.number != ref.number or descriptor.run_keys != ref.run_keys:
        raise Integrity(f"descriptor {name} and the log differ")
    if (descriptor.ids, descriptor.minimum_suite) != ("blake3-256-keyed", SUITE_AES256GCM_HKDF_SHA512):
        raise Invalid(f"descriptor {name} asks for ids or a suite that this version does not have: update recoup", reason="NewerFormat")
    return descriptor
