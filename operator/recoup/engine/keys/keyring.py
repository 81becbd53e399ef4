"""Keyrings: the keys of one vault and generation, wrapped to every KEK, signed by the root key (docs/format.md section 2).

Six sections, each sealed under a key of its own, which is wrapped to each KEK: whoever is given one section learns no other.
A keyring is believed only if its root key is the pinned one and the log names its digest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import msgspec

from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.records import decode_record, encode_record, open_record, seal_record
from recoup.engine.keys.certificate import Certificate, sign_certificate, verify_certificate
from recoup.engine.keys.kek import Unwrapper, Wrapper
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey, verify
from recoup.errors import Integrity, KeyUnavailable

MAX_KEYRING_BYTES: Final = 1 << 20
SECTIONS: Final = ("root", "writer", "catalogue", "maintenance", "verifier", "private")
_MAGIC: Final = b"RCPK\x00\x01\x00\x00"
_PURPOSE: Final = b"rcp1/keyring"
_WORD: Final = 4


class Wrap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section key wrapped to one KEK; `type` and `id` as in envelopes."""

    type: int
    id: bytes
    wrapped: bytes


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    wraps: tuple[Wrap, ...]
    sealed: bytes


class KeyringBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: bytes
    sections: tuple[Section, ...]


class Material(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every secret of a generation, as 32 raw bytes each."""

    root: bytes
    writer_root: bytes
    """K_w."""
    writer: bytes
    run: bytes
    maintenance: bytes
    verifier: bytes
    private: bytes
    """The data key's private half."""

    def __repr__(self) -> str:
        return "Material(…)"

    @classmethod
    def generate(cls) -> Self:
        return cls(*(os.urandom(32) for _ in cls.__struct_fields__))

    def certify(self, repo_id: bytes, vault_id: bytes, generation: int) -> bytes:
        """The root key's certificate of the public halves."""
        publics = [SigningKey(raw).public for raw in (self.root, self.writer, self.maintenance, self.verifier)]
        certificate = Certificate(repo_id, vault_id, generation, publics[0], PrivateKey(self.private).public, *publics[1:])
        return sign_certificate(certificate, SigningKey(self.root))


_SECTION_FIELDS: Final = {
    "root": ("root",),
    "writer": ("writer_root", "writer"),
    "catalogue": ("run",),
    "maintenance": ("maintenance",),
    "verifier": ("verifier",),
    "private": ("private",),
}


@dataclass(frozen=True, slots=True)
class OpenedKeyring:
    certificate: Certificate
    material: Material
    proven: bool
    """A secret KEK opened it, so a holder of that KEK made it; a public-key recipient proves nothing of the kind."""


def seal_keyring(material: Material, certificate: bytes, keks: Sequence[Wrapper]) -> bytes:
    """The keyring object for those KEKs. `certificate` is `material.certify(…)`."""
    if not keks:
        raise ValueError("a keyring without a KEK can never be opened")
    facts = verify_certificate(certificate, "the new certificate")
    sections = tuple(_seal_section(name, material, facts, keks) for name in SECTIONS)
    body = encode_record(KeyringBody(certificate, sections))
    signed = _MAGIC + len(body).to_bytes(_WORD, "big") + body
    return signed + SigningKey(material.root).sign(_PURPOSE, signed)


def decode_keyring(data: bytes, name: str) -> tuple[Certificate, tuple[Section, ...]]:
    """Decode a keyring and check the root key's signature over all of it. Raises Integrity naming the object and the field."""
    start = len(_MAGIC) + _WORD
    if not start + SIGNATURE_BYTES <= len(data) <= MAX_KEYRING_BYTES or data[: len(_MAGIC)] != _MAGIC:
        raise Integrity(f"keyring {name} is damaged or forged: magic, version or length")
    if int.from_bytes(data[len(_MAGIC) : start], "big") != len(data) - start - SIGNATURE_BYTES:
        raise Integrity(f"keyring {name} is damaged or forged: length of its body")
    body = decode_record(data[start:-SIGNATURE_BYTES], KeyringBody, f"keyring {name}")
    certificate = verify_certificate(body.certificate, f"the certificate in keyring {name}")
    if not verify(certificate.root, _PURPOSE, data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]):
        raise Integrity(f"keyring {name} is not signed by the root key that it names")
    if tuple(section.name for section in body.sections) != SECTIONS:
        raise Integrity(f"keyring {name} is damaged or forged: its sections")
    return certificate, body.sections


def open_keyring(data: bytes, keks: Iterable[Unwrapper], name: str) -> OpenedKeyring:
    """Open every section with the first KEK that can. Raises KeyUnavailable if none can, Integrity if the bytes are not right.

    The caller compares the certificate's root key with the pinned one and the object's digest with the log.
    """
    certificate, sections = decode_keyring(data, name)
    proven = True
    fields: dict[str, bytes] = {}
    at_hand = list(keks)
    for section in sections:
        section_key, kek = _unwrap(section, at_hand, certificate, name)
        proven = proven and kek.proves_origin
        plain = open_record(section_key, _context(b"rcp1/section", certificate, section.name), section.sealed, f"keyring {name}")
        fields.update(_decode_section(plain, section.name, name))
    return OpenedKeyring(certificate, Material(**fields), proven)


def _seal_section(name: str, material: Material, certificate: Certificate, keks: Sequence[Wrapper]) -> Section:
    section_key = os.urandom(32)
    context = _context(b"rcp1/wrap", certificate, name)
    wraps = tuple(Wrap(kek.type, kek.id, kek.wrap(section_key, context)) for kek in keks)
    plain = msgspec.msgpack.encode({key: getattr(material, key) for key in _SECTION_FIELDS[name]})
    return Section(name, wraps, seal_record(section_key, _context(b"rcp1/section", certificate, name), plain))


def _unwrap(section: Section, keks: list[Unwrapper], certificate: Certificate, name: str) -> tuple[bytes, Unwrapper]:
    context = _context(b"rcp1/wrap", certificate, section.name)
    for kek in keks:
        for wrap in section.wraps:
            if (wrap.type, wrap.id) != (kek.type, kek.id):
                continue
            section_key = kek.unwrap(wrap.wrapped, context)
            if section_key is None or len(section_key) != 32:
                raise Integrity(f"keyring {name} is damaged or forged: its section {section.name} is not wrapped to the key that it names")
            return section_key, kek
    raise KeyUnavailable(
        f"none of the {len(keks)} keys at hand opens vault {certificate.vault_id.hex()} (generation {certificate.generation}): "
        "give the key file that it was made with, or its recovery key"
    )


def _decode_section(plain: bytes, section: str, name: str) -> dict[str, bytes]:
    try:
        fields = msgspec.msgpack.decode(plain, type=dict[str, bytes])
    except msgspec.MsgspecError:
        fields = {}
    if tuple(fields) != _SECTION_FIELDS[section] or any(len(value) != 32 for value in fields.values()):
        raise Integrity(f"keyring {name} is damaged or forged: content of section {section}")
    return fields


def _context(label: bytes, certificate: Certificate, section: str) -> bytes:
    return label + certificate.repo_id + certificate.vault_id + certificate.generation.to_bytes(4, "big") + section.encode("ascii")
