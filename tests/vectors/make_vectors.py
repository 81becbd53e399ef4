"""Makes the test vectors: `python -m tests.vectors.make_vectors`. They are data; run this only to add to them, never to fix a failing test.

Everything random comes from a fixed stream, so that all but the HPKE envelopes (whose ephemeral keys are made inside the
library) comes out the same again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import zstandard

from recoup.engine.descriptor import encode_descriptor, encode_location, new_descriptor, reference_to
from recoup.engine.format.derive import derive, expand, hedge_key_of
from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.names import digest_of
from recoup.engine.format.padme import padme
from recoup.engine.format.records import seal_record
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.keyring import Material, seal_keyring
from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.text import encode_fingerprint
from recoup.engine.keys.tickets import Ticket, issue_ticket, session_id
from recoup.engine.log.bodies import (
    LOCKED,
    SIGNERS,
    TYPE_OF,
    Abort,
    Adopt,
    Attest,
    Body,
    Commit,
    Condemn,
    Damaged,
    Descriptor,
    Evidence,
    Forget,
    Heal,
    Index,
    Init,
    KeyGen,
    KeyringRef,
    Mirror,
    ObjectRef,
    Open,
    Pin,
    Replace,
    Signer,
    Sweep,
    Unpin,
)
from recoup.engine.log.entries import Head, encode_entry
from recoup.engine.log.points import PointRecord, seal_point
from recoup.engine.records.nodes import Locator

HERE = Path(__file__).parent
REPO, VAULT = bytes(range(16)), bytes(range(16, 32))
TIME = 1_767_225_600_000


def fixed(name: str, length: int = 32) -> bytes:
    return hashlib.shake_256(b"recoup vectors " + name.encode()).digest(length)


@contextmanager
def fixed_random(name: str) -> Iterator[None]:
    """`os.urandom` gives fixed(name/0), fixed(name/1) …, one for each call."""
    count = 0

    def urandom(length: int) -> bytes:
        nonlocal count
        count += 1
        return fixed(f"{name}/{count - 1}", length)

    with patch.object(os, "urandom", urandom):
        yield


MATERIAL = Material(*(fixed(name) for name in Material.__struct_fields__))
SECRET, OFFLINE = SecretKek(fixed("secret")), RecipientKek(PrivateKey(fixed("offline")))
CERTIFICATE = MATERIAL.certify(REPO, VAULT, 1)
DESCRIPTOR = new_descriptor(0, REPO, VAULT, (SigningKey(MATERIAL.run).public,))
IDENTITY = VaultIdentity(REPO, VAULT, SigningKey(MATERIAL.root).public)
SESSION = session_id("6f1c0a52-snapshot", "0b9e4d11-pvc")
TICKET = issue_ticket(Ticket(VAULT, SESSION, "policy-uid", "20260101t000000z", "0b9e4d11-pvc"), SigningKey(MATERIAL.run))
POINT = PointRecord(
    "6f1c0a52-snapshot",
    "daily",
    "daily",
    "CrashConsistent",
    ("0b9e4d11-pvc",),
    "{}",
    "directory",
    TIME,
    TIME + 1,
    3,
    4,
    5,
    6,
    0,
    "recoup 0",
)


def primitives() -> dict[str, Any]:
    key = fixed("key")
    labels = ["rcp1/id", "rcp1/index", "rcp1/cache", "rcp1/meta", "rcp1/hedge", "rcp1/gear", "rcp1/path", "hedge"]
    return {
        "expand": {"prk": fixed("prk", 64), "info": b"info", "output": expand(fixed("prk", 64), b"info", 64)},
        "derive": {"key": key, "outputs": {label: derive(key, label.encode()) for label in labels}},
        "block_ids": [
            {"key": key, "kind": int(kind), "plain": plain, "id": block_id(key, kind, plain)}
            for kind in (BlockKind.DATA, BlockKind.TREE)
            for plain in (b"", b"recoup")
        ],
        "padme": [[length, padme(length)] for length in (0, 1, 2, 9, 100, 1000, 65_537, 1_000_000, 16_777_217)],
        "texts": {
            "secret": [SECRET.raw, SECRET.to_text()],
            "private": [OFFLINE.private.raw, OFFLINE.to_text()],
            "recipient": [OFFLINE.private.public, OFFLINE.recipient.to_text()],
            "fingerprint": [VAULT + IDENTITY.root_public, encode_fingerprint(VAULT, IDENTITY.root_public)],
        },
        "session": {"snapshot_uid": "6f1c0a52-snapshot", "pvc_uid": "0b9e4d11-pvc", "id": SESSION},
        "sealed_record": {"key": key, "context": b"context", "plain": b"hello", "random": fixed("record/0"), "sealed": sealed_record(key)},
    }


def sealed_record(key: bytes) -> bytes:
    with fixed_random("record"):
        return seal_record(key, b"context", b"hello")


def an_object(name: str, random: str, kind: Kind, level: int) -> dict[str, Any]:
    """One object of three blocks: raw, zstd, empty."""
    key, private = fixed("object key"), PrivateKey(fixed("object private"))
    hedge_key = hedge_key_of(key) if kind.readable_by_writer else fixed("hedge key")
    symmetric = kind.readable_by_writer
    sealing = Sealing(REPO, VAULT, 1, kind, hedge_key, () if symmetric else (private.public,), key if symmetric else None)
    plains = [b"a raw block", b" ".join(b"%d" % (number * number % 7919) for number in range(400)), b""]
    codecs = [Codec.RAW, Codec.ZSTD, Codec.RAW]
    builder = ObjectBuilder(sealing, 1 << 16)
    blocks = []
    for plain, codec in zip(plains, codecs, strict=True):
        payload = zstandard.ZstdCompressor(level=level).compress(plain) if codec else plain
        ident = block_id(fixed("id key"), BlockKind.DATA, plain)
        builder.add(ident, BlockKind.DATA, codec, len(plain), payload)
        blocks.append({"id": ident, "kind": int(BlockKind.DATA), "codec": int(codec), "plain": plain, "payload": payload})
    with fixed_random(random):
        stored = bytes(builder.close(stored_size=None).data)
    opener = {"wrapping_key": key} if symmetric else {"private_key": private.raw}
    known = {"object_id": fixed(f"{random}/0", 16), "seed": fixed(f"{random}/1")}
    return (
        {"name": name, "kind": int(kind), "repo_id": REPO, "vault_id": VAULT, "generation": 1, "hedge_key": hedge_key}
        | opener
        | known
        | {
            "blocks": blocks,
            "stored": stored,
            "digest": digest_of(stored),
        }
    )


def objects() -> list[dict[str, Any]]:
    return [
        an_object("sealed under a key", "one", Kind.INDEX, 3),
        an_object("the same with another zstd level", "one", Kind.INDEX, 19),
        an_object("the same with another random state", "two", Kind.INDEX, 3),
        an_object("sealed to a public key", "three", Kind.DATA, 3),
    ]


def keys() -> dict[str, Any]:
    with fixed_random("keyring"):
        keyring = seal_keyring(MATERIAL, CERTIFICATE, [SECRET, OFFLINE.recipient])
    return {
        "material": msgspec.structs.asdict(MATERIAL),
        "repo_id": REPO,
        "vault_id": VAULT,
        "generation": 1,
        "certificate": CERTIFICATE,
        "secret_kek": SECRET.to_text(),
        "recovery_key": OFFLINE.to_text(),
        "keyring": keyring,
        "location_descriptor": encode_location(REPO),
        "vault_descriptor": encode_descriptor(DESCRIPTOR),
        "ticket": TICKET,
    }


def bodies() -> list[Body]:
    with fixed_random("labels"):
        labels = seal_record(derive(MATERIAL.writer_root, b"rcp1/meta"), b"labels" + REPO + VAULT, b'{"namespace":"team-a"}')
    with fixed_random("point"):
        record = seal_point(derive(MATERIAL.writer_root, b"rcp1/meta"), IDENTITY, 1, SESSION, POINT)
    ref, other = reference_to(DESCRIPTOR), reference_to(msgspec.structs.replace(DESCRIPTOR, number=1))
    free, manifest = fixed("free", 16), fixed("manifest")
    return [
        Init(CERTIFICATE, KeyringRef(1, fixed("keyring digest")), ref, labels),
        Descriptor(other),
        KeyGen(CERTIFICATE, (KeyringRef(1, fixed("new keyring digest")),)),
        Open(free, b"", 16 << 20),
        Abort(free, 3),
        Open(SESSION, TICKET, 16 << 20, (fixed("partial"),)),
        Commit(SESSION, 5, TICKET, manifest, fixed("set"), (fixed("index"),), fixed("cache"), record, (ObjectRef(fixed("set"), 2),)),
        Attest(4, (manifest,), 7, 1_000_000),
        Damaged((ObjectRef(fixed("bad")), ObjectRef(fixed("worse"), 3)), "missing"),
        *later_bodies(manifest, record),
    ]


def later_bodies(manifest: bytes, record: bytes) -> list[Body]:
    """What came to the format after its first entries: seq 9 and on."""
    free, gone, lists = fixed("repack", 16), fixed("forgotten manifest"), (fixed("list"), fixed("list 2"))
    index = fixed("merged index")
    return [
        Adopt("policy-uid", "new-policy-uid"),
        Pin(manifest, "before the migration"),
        Unpin(manifest, "done"),
        Open(free, b"", 16 << 20),
        Replace(
            manifest, 6, free, 12, Locator(fixed("refs"), 0, 4), fixed("new set"), (fixed("index 2"),), (ObjectRef(fixed("moved"), 1),)
        ),
        Commit(free, 12, b"", gone, fixed("gone set"), (), b"", record),
        Forget((gone,), "", 0, "named by a person"),
        Condemn(lists, 20_000, 1 << 34, False, 16, 500, ()),
        Sweep(16, 17, lists, 20_000, 1 << 34, 500),
        Condemn(lists[:1], 7, 1 << 20, True, 18, 400, (17,)),
        Index((index,), (fixed("index"), fixed("index 2"))),
        Heal((ObjectRef(fixed("bad"), 1),)),
        Evidence("Drill", '{"restored":true}'),
        Evidence(LOCKED, '{"head":21,"until":"2026-12-24T00:00:00Z"}'),
    ]


def replica() -> list[dict[str, Any]]:
    """The log of another location: it begins with the home's INIT and has one of its points."""
    home = [bytes(entry["entry"]) for entry in log()]
    here: list[Body] = [
        Mirror(home[0]),
        Mirror(home[6], (ObjectRef(fixed("set"), 1),)),
        Attest(1, (fixed("manifest"),), 7, 0),
        Mirror(home[13]),
        Heal((ObjectRef(fixed("cache"), 1),)),
        Mirror(home[14]),
        Forget((fixed("manifest"),), "policy-uid", 3, "daily 7"),
    ]
    return encoded(here, fixed("replica", 16))


def log() -> list[dict[str, Any]]:
    return encoded(bodies(), REPO)


def encoded(entries_of: list[Body], location: bytes) -> list[dict[str, Any]]:
    signers = {Signer.WRITER: MATERIAL.writer, Signer.MAINTENANCE: MATERIAL.maintenance, Signer.VERIFIER: MATERIAL.verifier}
    entries = []
    previous = bytes(32)
    for seq, body in enumerate(entries_of):
        signer = Signer.VERIFIER if isinstance(body, Evidence) and body.kind != LOCKED else min(SIGNERS[TYPE_OF[type(body)]])
        generation = 1 if signer else 0
        head = Head(TYPE_OF[type(body)], signer, generation, REPO, VAULT, location, seq, previous, TIME + seq, fixed(f"nonce {seq}", 16))
        data = encode_entry(head, body, SigningKey(signers[signer]) if signer else None)
        entries.append({"type": type(body).__name__.upper(), "seq": seq, "entry": data, "digest": digest_of(data)})
        previous = digest_of(data)
    return entries


def every() -> dict[str, Any]:
    return {"primitives": primitives(), "objects": objects(), "keys": keys(), "log": log(), "replica": replica()}


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1, default=lambda data: bytes(data).hex()) + "\n"


def main() -> None:
    for name, value in every().items():
        (HERE / f"{name}.json").write_text(to_json(value))


if __name__ == "__main__":
    main()
