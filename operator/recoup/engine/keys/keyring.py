"""Keyrings: the keys of one vault and generation, wrapped to every KEK, signed by the root key (docs/format.md section 2).

Six sections, each sealed under a key of its own, which is wrapped to each KEK: whoever is given one section learns no other.
A keyring is believed only if its root key is the pinned one and the log names its digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import msgspec

from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.records import MALFORMED, decode_record, encode_record, open_record, seal_record
from recoup.engine.keys.certificate import Certificate, sign_certificate, verify_certificate
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey, verify
from recoup.engine.keys.wraps import MAX_KEKS, BadWrap, Scope, Unwrapper, Wrap, Wrapper
from recoup.errors import Integrity, Invalid, KeyUnavailable

MAX_KEYRING_BYTES: Final = 1 << 20
SECTIONS: Final = ("root", "writer", "catalogue", "maintenance", "verifier", "private")
_MAGIC: Final = b"RCPK\x00\x01\x00\x00"
_PURPOSE: Final = b"rcp1/keyring"
_WORD: Final = 4


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

    def certify(self, repo_id: bytes, vault_id: bytes, generation: int, *, hybrid: bool = False) -> bytes:
        """The root key's certificate of the public halves; `hybrid` says of which kind the data key pair is."""
        publics = [SigningKey(raw).public for raw in (self.root, self.writer, self.maintenance, self.verifier)]
        certificate = Certificate(repo_id, vault_id, generation, publics[0], PrivateKey(self.private, hybrid).public, *publics[1:])
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
    """A secret opened it, so a holder of that secret made it; a recipient or a key service proves nothing of the kind."""
    wraps: tuple[tuple[Wrap, ...], ...]
    """By section: to whom it is wrapped."""
    section_keys: tuple[bytes, ...] = field(repr=False)


def seal_keyring(material: Material, certificate: bytes, keks: Sequence[Wrapper]) -> bytes:
    """The keyring object for those KEKs. `certificate` is `material.certify(…)`."""
    facts = verify_certificate(certificate, "the new certificate")
    keys = [os.urandom(32) for _ in SECTIONS]
    return _seal(material, certificate, keys, [_wrap(keks, key, facts, name) for name, key in zip(SECTIONS, keys, strict=True)])


def rewrap_keyring(opened: OpenedKeyring, certificate: bytes, keep: Callable[[Wrap], bool], add: Sequence[Wrapper]) -> bytes:
    """The same secrets for other KEKs: the wraps that `keep` keeps, and new ones. Other bytes each time: a swept name never returns.

    Wraps are kept as they are, because whoever rotates one key has not got the others. Raises what a key service raises.
    """
    sections = zip(SECTIONS, opened.section_keys, opened.wraps, strict=True)
    wraps = [(*filter(keep, kept), *_wrap(add, key, opened.certificate, name)) for name, key, kept in sections]
    return _seal(opened.material, certificate, opened.section_keys, wraps)


def _seal(material: Material, certificate: bytes, keys: Sequence[bytes], wraps: Sequence[tuple[Wrap, ...]]) -> bytes:
    if not all(wraps):
        raise ValueError("a keyring without a KEK can never be opened")
    if any(len(section) > MAX_KEKS for section in wraps):
        raise Invalid(f"a vault has at most {MAX_KEKS} keys: remove one first", reason="TooManyKeys")
    facts = verify_certificate(certificate, "the new certificate")
    sections = tuple(_seal_section(name, material, facts, key, to) for name, key, to in zip(SECTIONS, keys, wraps, strict=True))
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
    if not all(0 < len(section.wraps) <= MAX_KEKS for section in body.sections):
        raise Integrity(f"keyring {name} is damaged or forged: the number of its wraps")
    return certificate, body.sections


def open_keyring(data: bytes, keks: Iterable[Unwrapper], name: str) -> OpenedKeyring:
    """Open every section with the first KEK that can. Raises KeyUnavailable if none can, Integrity if the bytes are not right.

    The caller compares the certificate's root key with the pinned one and the object's digest with the log.
    """
    certificate, sections = decode_keyring(data, name)
    fields: dict[str, bytes] = {}
    at_hand = list(keks)
    opened = [_unwrap(section, at_hand, certificate, name) for section in sections]
    for section, (section_key, _) in zip(sections, opened, strict=True):
        context = _scope(certificate, section.name).context(b"rcp1/section")
        fields.update(_decode_section(open_record(section_key, context, section.sealed, f"keyring {name}"), section.name, name))
    proven = all(kek.proves_origin for _, kek in opened)
    return OpenedKeyring(
        certificate, Material(**fields), proven, tuple(section.wraps for section in sections), tuple(key for key, _ in opened)
    )


def _seal_section(name: str, material: Material, certificate: Certificate, key: bytes, wraps: tuple[Wrap, ...]) -> Section:
    plain = msgspec.msgpack.encode({secret: getattr(material, secret) for secret in _SECTION_FIELDS[name]})
    return Section(name, wraps, seal_record(key, _scope(certificate, name).context(b"rcp1/section"), plain))


def _wrap(keks: Sequence[Wrapper], section_key: bytes, certificate: Certificate, name: str) -> tuple[Wrap, ...]:
    return tuple(kek.wrap(section_key, _scope(certificate, name)) for kek in keks)


def _unwrap(section: Section, keks: list[Unwrapper], certificate: Certificate, name: str) -> tuple[bytes, Unwrapper]:
    """The section's key and the KEK that opened it. What a key service refuses may still open with another key."""
    refused: KeyUnavailable | None = None
    for kek in keks:
        for wrap in section.wraps:
            try:
                section_key = kek.unwrap(wrap, _scope(certificate, section.name))
            except KeyUnavailable as error:
                refused = error
                continue
            except BadWrap:
                section_key = b""
            if section_key is not None and len(section_key) != 32:
                raise Integrity(f"keyring {name} is damaged or forged: its section {section.name} is not wrapped to the key that it names")
            if section_key is not None:
                return section_key, kek
    raise refused or KeyUnavailable(
        f"none of the {len(keks)} keys at hand opens vault {certificate.vault_id.hex()} (generation {certificate.generation}): "
        "give a key that it was made with, or its recovery key; `recoup keys list` shows which keys there are"
    )


def _decode_section(plain: bytes, section: str, name: str) -> dict[str, bytes]:
    try:
        fields = msgspec.msgpack.decode(plain, type=dict[str, bytes])
    except MALFORMED:
        fields = {}
    if tuple(fields) != _SECTION_FIELDS[section] or any(len(value) != 32 for value in fields.values()):
        raise Integrity(f"keyring {name} is damaged or forged: content of section {section}")
    return fields


def _scope(certificate: Certificate, section: str) -> Scope:
    return Scope(certificate.repo_id, certificate.vault_id, certificate.generation, section)
