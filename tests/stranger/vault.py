"""From a key on paper to everything in a vault: texts, keyring, log (docs/format.md sections 1, 2 and 6)."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from msgspec import DecodeError
from msgspec.msgpack import decode

from tests.stranger.container import Block, Keys, Unreadable, derive, key_pairs, open_hpke, read_object, read_record

Get = Callable[[str], bytes | None]
"""Stored bytes of a name, None if there is no such object."""
ENTRY = struct.Struct(">4sHBBI16s16s16sQ32sQ16sI")


def read_text(text: str) -> tuple[str, bytes]:
    """(prefix, payload) of a key or fingerprint as text."""
    prefix, _, body = text.strip().partition("1")
    data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    if hashlib.sha256(prefix.encode() + data[:-4]).digest()[:4] != data[-4:]:
        raise Unreadable("checksum")
    return prefix, data[:-4]


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def check(public: bytes, purpose: bytes, data: bytes) -> None:
    """The last 64 bytes of `data` must sign the rest."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(data[-64:], purpose + b"\0" + data[:-64])
    except InvalidSignature:
        raise Unreadable(f"signature of {purpose.decode()}") from None


def read_certificate(data: bytes) -> dict[str, Any]:
    certificate: dict[str, Any] = decode(data[:-64])
    check(certificate["root"], b"rcp1/certificate", data)
    return certificate


def open_keyring(data: bytes, kek: str) -> dict[str, bytes]:
    """Every secret of a keyring by name, opened with a KEK as text."""
    if data[:12] != b"RCPK\0\1\0\0" + struct.pack(">I", len(data) - 76):
        raise Unreadable("keyring")
    body = decode(data[12:-64])
    certificate = read_certificate(body["certificate"])
    check(certificate["root"], b"rcp1/keyring", data)
    scope = certificate["repo_id"] + certificate["vault_id"] + struct.pack(">I", certificate["generation"])
    secrets: dict[str, bytes] = {}
    for section in body["sections"]:
        name = section["name"].encode()
        key = section_key(section["wraps"], kek, b"rcp1/wrap" + scope + name)
        secrets |= decode(read_record(key, b"rcp1/section" + scope + name, section["sealed"]))
    return secrets


def section_key(wraps: list[dict[str, Any]], kek: str, context: bytes) -> bytes:
    """With a key as text; anything that is not one is a passphrase."""
    prefix, payload = read_text(kek) if kek.startswith("recoup") else ("", b"")
    pairs = key_pairs(payload) if prefix.endswith("private") else {}
    for wrap in wraps:
        wrapped = wrap["wrapped"]
        if wrap["id"] in pairs:
            return open_hpke(pairs[wrap["id"]], wrapped, context)
        if wrap["type"] == 17 and not prefix:
            memory, passes, lanes = struct.unpack_from(">IIB", wrapped)
            argon = Argon2id(salt=wrapped[12:28], length=32, iterations=passes, lanes=lanes, memory_cost=memory)
            payload, wrapped = argon.derive(kek.encode()), wrapped[28:]
        if wrap["type"] in {16, 17} and wrap["id"] == derive(payload, b"rcp1/kek-id", 16):
            return aes_key_unwrap_with_padding(derive(payload, context), wrapped)
    raise Unreadable("not wrapped to this key")


@dataclass
class Point:
    body: dict[str, Any]
    """Of the COMMIT, with what a REPLACE put in place of it."""
    generation: int
    mirrored: bool
    incarnations: dict[bytes, int]


@dataclass
class Log:
    """The live points of a log and what opens them, by the rules that a reader of an undamaged vault needs."""

    certificates: dict[int, dict[str, Any]] = field(default_factory=dict)
    keyrings: dict[int, bytes] = field(default_factory=dict)
    points: dict[bytes, Point] = field(default_factory=dict)
    incarnations: dict[bytes, set[int]] = field(default_factory=dict)
    previous: bytes = bytes(32)
    skipped: int = 0


def read_log(get: Get, vault: bytes, root: bytes) -> Log:
    log, seq = Log(), 0
    while (data := get(f"v/{vault.hex()}/log/{seq:016x}")) is not None:
        try:
            take(log, data, seq, vault, root)
        except (Unreadable, KeyError, DecodeError, struct.error):
            log.skipped += 1
        seq += 1
    return log


def take(log: Log, data: bytes, seq: int, vault: bytes, root: bytes) -> None:
    magic, version, type_, _, generation, _, in_vault, _, place, previous, _, _, length = ENTRY.unpack_from(data)
    if (magic, version, in_vault, place, previous, len(data)) != (b"RCPE", 1, vault, seq, log.previous, 192 + length):
        raise Unreadable("head")
    body, mirrored = decode(data[128:-64]), type_ == 8
    if mirrored:  # an entry of the home's log, for which it is judged; the chain is that of this log
        check_signer(log, body["entry"], vault, root)
        type_, generation, home = *ENTRY.unpack_from(body["entry"])[2:5:2], decode(body["entry"][128:-64])
        body = home | {"incarnations": body["incarnations"]}
    elif type_ != 17:
        check_signer(log, data, vault, root)
    apply(log, type_, generation, body, mirrored=mirrored)
    log.previous = digest(data)


def check_signer(log: Log, data: bytes, vault: bytes, root: bytes) -> None:
    _, _, type_, signer, generation, repo, in_vault, *_ = ENTRY.unpack_from(data)
    certificate = read_certificate(decode(data[128:-64])["certificate"]) if type_ == 1 else log.certificates[generation]
    if (certificate["root"], certificate["vault_id"], certificate["repo_id"], in_vault) != (root, vault, repo, vault):
        raise Unreadable("another vault")
    check(certificate[{1: "writer", 2: "maintenance", 3: "verifier"}[signer]], b"rcp1/entry", data)


def apply(log: Log, type_: int, generation: int, body: dict[str, Any], *, mirrored: bool) -> None:
    if type_ in {1, 3}:
        certificate = read_certificate(body["certificate"])
        log.certificates[certificate["generation"]] = certificate
        log.keyrings = dict([body["keyring"]] if type_ == 1 else body["keyrings"])
    elif type_ == 6:
        log.points[body["manifest"]] = Point(body, generation, mirrored, dict(body["incarnations"]))
    elif type_ == 9:
        for manifest in body["points"]:
            del log.points[manifest]
    elif type_ == 14:
        point = log.points[body["point"]]
        point.body |= {"object_set": body["object_set"], "refs": body["refs"]}
        point.incarnations |= dict(body["incarnations"])
    if type_ in {6, 14, 17}:
        for name, incarnation in body["objects" if type_ == 17 else "incarnations"]:
            log.incarnations.setdefault(name, set()).add(incarnation)


class Vault:
    """A vault opened with one KEK (a key as text, or a passphrase) and a fingerprint."""

    def __init__(self, get: Get, kek: str, fingerprint: str) -> None:
        payload = read_text(fingerprint)[1]
        self.get, self.id = get, payload[:16]
        self.log = read_log(get, self.id, payload[16:])
        self.secrets: dict[int, dict[str, bytes]] = {}
        for generation, name in self.log.keyrings.items():
            data = get(f"v/{self.id.hex()}/keyring/{generation}-{name.hex()}")
            if data is None or digest(data) != name:
                raise Unreadable("keyring")
            self.secrets[generation] = open_keyring(data, kek)
        roots = [secrets["writer_root"] for secrets in self.secrets.values()]
        wrapping = [derive(root, label) for root in roots for label in (b"rcp1/index", b"rcp1/cache")]
        self.keys = Keys([secrets["private"] for secrets in self.secrets.values()], wrapping)

    def id_key(self, generation: int) -> bytes:
        return derive(self.secrets[generation]["writer_root"], b"rcp1/id")

    def object(self, area: str, name: bytes, incarnation: int = 0) -> list[Block]:
        """The highest incarnation that any entry names, and whose bytes match."""
        for k in [*sorted(self.log.incarnations.get(name, ()), reverse=True), incarnation]:
            data = self.get(f"v/{self.id.hex()}/{area}/{name.hex()[:2]}/{name.hex()}{f'.{k}' if k else ''}")
            if data is not None and digest(data) == name:
                return read_object(data, self.keys)
        raise Unreadable(f"object {name.hex()}")
