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

from tests.stranger.container import (
    Keys,
    SealedObject,
    Unreadable,
    derive,
    hybrid_of,
    open_hpke,
    public_of,
    read_object,
    read_record,
    unwrap_kwp,
)  # fmt: skip
from tests.stranger.msgpack import unpack

Get = Callable[[str], bytes | None]
"""Stored bytes of a name, None if there is no such object."""


def read_text(text: str) -> tuple[str, bytes]:
    """(prefix, payload) of a key or fingerprint as text."""
    prefix, _, body = text.strip().partition("1")
    data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    payload, checksum = data[:-4], data[-4:]
    if hashlib.sha256(prefix.encode() + payload).digest()[:4] != checksum:
        raise Unreadable("checksum")
    return prefix, payload


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def signed_by(public: bytes, purpose: bytes, data: bytes) -> bool:
    """Whether the last 64 bytes of `data` sign the rest."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(data[-64:], purpose + b"\0" + data[:-64])
    except (InvalidSignature, ValueError):
        return False
    return True


def read_certificate(data: bytes) -> dict[str, Any]:
    certificate: dict[str, Any] = unpack(data[:-64])
    if not signed_by(certificate["root"], b"rcp1/certificate", data):
        raise Unreadable("certificate")
    return certificate


def open_keyring(data: bytes, kek: str) -> dict[str, bytes]:
    """Every secret of a keyring by name, opened with a KEK as text."""
    length = int.from_bytes(data[8:12], "big")
    if data[:8] != b"RCPK\0\1\0\0" or len(data) != 12 + length + 64:
        raise Unreadable("keyring")
    body = unpack(data[12:-64])
    certificate = read_certificate(body["certificate"])
    if not signed_by(certificate["root"], b"rcp1/keyring", data):
        raise Unreadable("keyring signature")
    scope = certificate["repo_id"] + certificate["vault_id"] + struct.pack(">I", certificate["generation"])
    secrets: dict[str, bytes] = {}
    for section in body["sections"]:
        name = section["name"].encode()
        key = _section_key(section["wraps"], kek, b"rcp1/wrap" + scope + name)
        secrets |= unpack(read_record(key, b"rcp1/section" + scope + name, section["sealed"]))
    return secrets


def _section_key(wraps: list[dict[str, Any]], kek: str, context: bytes) -> bytes:
    """With a key as text; anything that is not one is a passphrase."""
    prefix, payload = read_text(kek) if kek.startswith("recoup") else ("", b"")
    secret, private = prefix == "recoupsecret", prefix in {"recoupprivate", "recouphybridprivate"}
    publics = {1: public_of(payload), 2: hybrid_of(payload)[1]} if private else {}
    for wrap in wraps:
        wrapped = wrap["wrapped"]
        if wrap["type"] == 17 and not prefix:
            memory, iterations, lanes = struct.unpack(">IIB", wrapped[:9])
            argon = Argon2id(salt=wrapped[12:28], length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
            payload, wrapped = argon.derive(kek.encode()), wrapped[28:]
        if wrap["type"] in publics and wrap["id"] == derive(publics[wrap["type"]], b"rcp1/recipient", 16):
            return open_hpke(payload, wrapped, context)
        if wrap["type"] == (16 if secret else 17) and not private and wrap["id"] == derive(payload, b"rcp1/kek-id", 16):
            return unwrap_kwp(derive(payload, context), wrapped)
    raise Unreadable("not wrapped to this key")


@dataclass
class Point:
    manifest: bytes
    object_set: bytes
    generation: int
    session: bytes
    record: bytes
    incarnations: dict[bytes, int]
    mirrored: bool = False
    refs: list[Any] | None = None
    """Where the root of the refs is since a REPLACE: digest, incarnation, number."""


@dataclass
class Log:
    """The valid entries of a log, by the rules that a reader of an undamaged vault needs."""

    init: dict[str, Any] = field(default_factory=dict)
    certificates: dict[int, dict[str, Any]] = field(default_factory=dict)
    keyrings: dict[int, bytes] = field(default_factory=dict)
    opened: dict[bytes, dict[int, bytes]] = field(default_factory=dict)
    aborted: dict[bytes, int] = field(default_factory=dict)
    points: dict[bytes, Point] = field(default_factory=dict)
    known: dict[bytes, set[int]] = field(default_factory=dict)
    location: bytes = b""
    previous: bytes = bytes(32)
    skipped: int = 0


def read_log(get: Get, vault: bytes, root: bytes) -> Log:
    log = Log()
    seq = 0
    while (data := get(f"v/{vault.hex()}/log/{seq:016x}")) is not None:
        try:
            _take(log, data, seq, vault, root)
        except (Unreadable, ValueError, KeyError, IndexError, struct.error):
            log.skipped += 1
        seq += 1
    return log


def _take(log: Log, data: bytes, seq: int, vault: bytes, root: bytes) -> None:
    head = struct.unpack_from(">4sHBBI16s16s16sQ32sQ16sI", data)
    magic, version, type_, _, generation, _, in_vault, location, place, previous, _, _, length = head
    body = unpack(data[128:-64])
    if (magic, version, in_vault, place, previous, len(data)) != (b"RCPE", 1, vault, seq, log.previous, 192 + length):
        raise Unreadable("head")
    if log.location not in {b"", location}:
        raise Unreadable("place")
    if type_ == 8:  # an entry of the home's log, for which it is judged; the chain is that of this log
        home = struct.unpack_from(">4sHBBI16s16s16sQ32sQ16sI", body["entry"])
        _authentic(log, body["entry"], home, vault, root)
        if home[2] in {1, 2, 3, 4, 6, 10, 11, 14}:
            inner = unpack(body["entry"][128:-64])
            _apply(log, home[2], seq, home[4], inner | {"incarnations": body["incarnations"]}, mirrored=True)
    else:
        if type_ != 17:
            _authentic(log, data, head, vault, root)
        _apply(log, type_, seq, generation, body)
    log.location, log.previous = location, digest(data)


def _authentic(log: Log, data: bytes, head: tuple[Any, ...], vault: bytes, root: bytes) -> None:
    type_, signer, generation, repo, in_vault = head[2:7]
    certificate = read_certificate(unpack(data[128:-64])["certificate"]) if type_ == 1 else log.certificates[generation]
    key = certificate[{1: "writer", 2: "maintenance", 3: "verifier"}[signer]]
    names = (certificate["root"], certificate["vault_id"], certificate["repo_id"], in_vault)
    if names != (root, vault, repo, vault) or not signed_by(key, b"rcp1/entry", data) or (type_ == 1) != (not log.init):
        raise Unreadable("signature")


def _apply(log: Log, type_: int, seq: int, generation: int, body: dict[str, Any], *, mirrored: bool = False) -> None:
    session = body.get("session", b"")
    if type_ == 1:
        log.init = body
        log.certificates[generation] = read_certificate(body["certificate"])
        log.keyrings = dict([body["keyring"]])
    elif type_ == 3:
        certificate = read_certificate(body["certificate"])
        log.certificates[certificate["generation"]] = certificate
        log.keyrings = dict(body["keyrings"])
    elif type_ == 5:
        log.opened.setdefault(session, {})[seq] = body["ticket"]
    elif type_ == 6:
        done = any(point.session == session for point in log.points.values())
        if not mirrored and (
            done or log.opened[session][body["open_seq"]] != body["ticket"] or body["open_seq"] <= log.aborted.get(session, -1)
        ):
            raise Unreadable("COMMIT")
        incarnations = {ref[0]: ref[1] for ref in body["incarnations"]}
        log.points[body["manifest"]] = Point(
            body["manifest"], body["object_set"], generation, session, body["record"], incarnations, mirrored
        )
    elif type_ == 7:
        log.aborted[session] = body["open_seq"]
    elif type_ == 9:
        for manifest in body["points"]:
            del log.points[manifest]
    elif type_ == 14:
        point = log.points[body["point"]]
        point.object_set, point.refs = body["object_set"], body["refs"]
        point.incarnations |= {ref[0]: ref[1] for ref in body["incarnations"]}
    if type_ in {6, 14, 17}:
        for name, incarnation in body.get("objects") or body.get("incarnations", ()):
            log.known.setdefault(name, set()).add(incarnation)


class Vault:
    """A vault opened with one KEK (a key as text, or a passphrase) and a fingerprint."""

    def __init__(self, get: Get, kek: str, fingerprint: str) -> None:
        payload = read_text(fingerprint)[1]
        self.get, self.id, root = get, payload[:16], payload[16:]
        self.log = read_log(get, self.id, root)
        self.secrets: dict[int, dict[str, bytes]] = {}
        for generation, name in self.log.keyrings.items():
            data = get(f"v/{self.id.hex()}/keyring/{generation}-{name.hex()}")
            if data is None or digest(data) != name:
                raise Unreadable("keyring")
            self.secrets[generation] = open_keyring(data, kek)
        roots = [secrets["writer_root"] for secrets in self.secrets.values()]
        wrapping = [derive(root, label) for root in roots for label in (b"rcp1/index", b"rcp1/cache")]
        self.keys = Keys.of([secrets["private"] for secrets in self.secrets.values()], wrapping)

    def id_key(self, generation: int) -> bytes:
        return derive(self.secrets[generation]["writer_root"], b"rcp1/id")

    def object(self, area: str, name: bytes, incarnation: int = 0) -> SealedObject:
        """The highest incarnation that any entry names, and whose bytes match."""
        for k in [*sorted(self.log.known.get(name, ()), reverse=True), incarnation]:
            data = self.get(f"v/{self.id.hex()}/{area}/{name.hex()[:2]}/{name.hex()}{f'.{k}' if k else ''}")
            if data is not None and digest(data) == name:
                return read_object(data, self.keys)
        raise Unreadable(f"object {name.hex()}")

    def catalogue_record(self, point: Point) -> dict[str, Any]:
        certificate = self.log.certificates[point.generation]
        context = b"catalogue" + certificate["repo_id"] + self.id + struct.pack(">I", point.generation) + point.session
        meta = derive(self.secrets[point.generation]["writer_root"], b"rcp1/meta")
        record: dict[str, Any] = unpack(read_record(meta, context, point.record))
        return record
