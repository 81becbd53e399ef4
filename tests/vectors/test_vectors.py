"""The vectors against the product, which must make them again to the byte, and against the stranger, who must read them."""

from __future__ import annotations

import hmac
import json
import os
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.msgpack import decode as unpack

from recoup.engine.descriptor import decode_descriptor, decode_location, reference_to
from recoup.engine.format.derive import ObjectKeys
from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.kinds import Kind
from recoup.engine.format.reader import ObjectReader, Opening, WrappingKey
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.engine.keys.kek import kek_from_text
from recoup.engine.keys.keyring import open_keyring
from recoup.engine.log.points import open_point
from recoup.engine.log.state import LogState
from tests.stranger import container, vault
from tests.vectors import make_vectors

HERE = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


OBJECTS, KEYS, LOG, PRIMITIVES = load("objects"), load("keys"), load("log"), load("primitives")
HPKE = "sealed to a public key"


def data(value: Any) -> bytes:
    return bytes.fromhex(str(value))


@pytest.mark.parametrize("name", ["primitives", "log", "replica"])
def test_the_product_makes_the_same_bytes_again(name: str) -> None:
    assert json.loads(make_vectors.to_json(make_vectors.every()[name])) == load(name)


def test_the_product_makes_the_same_objects_again() -> None:
    """From the blocks of the vector: another version of zstd may compress otherwise, and may do so."""
    for vector in OBJECTS:
        if vector["name"] != HPKE:
            assert rebuilt(vector) == data(vector["stored"])
    made = json.loads(make_vectors.to_json(make_vectors.keys()))
    assert {name: made[name] for name in made if name != "keyring"} == {name: KEYS[name] for name in KEYS if name != "keyring"}


def rebuilt(vector: dict[str, Any]) -> bytes:
    sealing = Sealing(
        data(vector["repo_id"]),
        data(vector["vault_id"]),
        1,
        Kind(vector["kind"]),
        data(vector["hedge_key"]),
        wrapping_key=data(vector["wrapping_key"]),
    )
    builder = ObjectBuilder(sealing, 1 << 16)
    for block in vector["blocks"]:
        builder.add(data(block["id"]), block["kind"], block["codec"], len(data(block["plain"])), data(block["payload"]))
    given = iter([data(vector["object_id"]), data(vector["seed"])])
    with patch.object(os, "urandom", lambda _: next(given)):
        return bytes(builder.close(stored_size=None).data)


@pytest.mark.parametrize("vector", OBJECTS, ids=[vector["name"] for vector in OBJECTS])
def test_product_and_stranger_open_the_objects(vector: dict[str, Any]) -> None:
    stored = data(vector["stored"])
    private, wrapping = (
        [data(vector[k]) for k in ("private_key",) if k in vector],
        [data(vector[k]) for k in ("wrapping_key",) if k in vector],
    )
    keys = tuple(map(PrivateKey, private)), tuple(map(WrappingKey, wrapping))
    reader = ObjectReader(stored, Opening(data(vector["repo_id"]), data(vector["vault_id"]), Kind(vector["kind"]), *keys), "vector")
    found = container.read_object(stored, container.Keys(private, wrapping))
    expected = [(data(block["id"]), block["kind"], data(block["plain"])) for block in vector["blocks"]]
    assert [(entry.id, entry.kind, bytes(reader.read(number))) for number, entry in enumerate(reader.table[:-1])] == expected
    assert [(block.id, block.kind, block.plain) for block in found] == expected
    assert vault.digest(stored) == data(vector["digest"])
    assert reader.header.object_id == data(vector["object_id"])


@pytest.mark.parametrize("vector", OBJECTS, ids=[vector["name"] for vector in OBJECTS])
def test_every_derived_value_is_that_of_the_document(vector: dict[str, Any]) -> None:
    """Hedge, commitment and keys computed here from the blocks and the seed, against what stands in the object."""
    stored = data(vector["stored"])
    frames = b"".join(frame_of(block) for block in vector["blocks"])
    header, table = stored[:144], table_of(vector)
    padding = struct.unpack_from(">32sBBHIII", table, 4 + 48 * len(vector["blocks"]))
    frames += struct.pack(">BBHI", 0, 255, 0, padding[6]) + bytes(padding[6])
    kind = bytes([vector["kind"]])
    message = b"hedge" + data(vector["object_id"]) + kind + struct.pack(">I", 1) + sha256(frames).digest() + sha256(table).digest()
    hedge = hmac.new(data(vector["hedge_key"]), message, "sha256").digest()
    assert header[64:96] == hedge
    context = b"rcp1/obj\0\1" + kind + data(vector["repo_id"]) + data(vector["vault_id"]) + data(vector["object_id"]) + struct.pack(">I", 1)
    assert header[96:128] == container.expand(container.h512(hedge, data(vector["seed"])), context + b"commit", 32)


def frame_of(block: dict[str, Any]) -> bytes:
    return struct.pack(">BBHI", block["codec"], block["kind"], 0, len(data(block["plain"]))) + data(block["payload"])


def table_of(vector: dict[str, Any]) -> bytes:
    """The block table, decrypted with nothing but the document's formulas."""
    stored = data(vector["stored"])
    prk, context, aad = prk_of(vector)
    length, header_length, offset = struct.unpack(">IIQ", stored[-24:-8])
    assert aad == sha256(stored[:header_length]).digest()
    material = container.expand(prk, context + b"footer", 44)
    return AESGCM(material[:32]).decrypt(material[32:], stored[offset : offset + length], aad + b"\xff" * 4)


def prk_of(vector: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
    stored = data(vector["stored"])
    header_length = struct.unpack(">I", stored[-20:-16])[0]
    context = b"rcp1/obj\0\1" + bytes([vector["kind"]]) + stored[8:40] + stored[40:56] + struct.pack(">I", 1)
    return container.h512(stored[64:96], data(vector["seed"])), context, sha256(stored[:header_length]).digest()


def block_keys(vector: dict[str, Any]) -> list[bytes]:
    prk, context, _ = prk_of(vector)
    return [container.expand(prk, context + b"block" + struct.pack(">I", number), 44) for number in range(4)] + [
        container.expand(prk, context + b"footer", 44)
    ]


def test_the_same_seed_and_object_id_with_another_zstd_level_share_no_key() -> None:
    one, other = OBJECTS[0], OBJECTS[1]
    assert (one["seed"], one["object_id"], one["blocks"][0]) == (other["seed"], other["object_id"], other["blocks"][0])
    assert one["blocks"][1]["plain"] == other["blocks"][1]["plain"]
    assert one["blocks"][1]["payload"] != other["blocks"][1]["payload"]
    assert not set(block_keys(one)) & set(block_keys(other))
    assert len(set(block_keys(one))) == 5


def test_the_same_blocks_under_another_object_id_have_another_hedge() -> None:
    one, other = OBJECTS[0], OBJECTS[2]
    assert one["blocks"] == other["blocks"]
    assert data(one["stored"])[64:96] != data(other["stored"])[64:96]


def test_the_product_derives_the_block_keys_of_the_document() -> None:
    for vector in OBJECTS:
        stored = data(vector["stored"])
        _, context, aad = prk_of(vector)
        keys = ObjectKeys(stored[64:96], data(vector["seed"]), context)
        for number, material in enumerate(block_keys(vector)[:4]):
            cipher, nonce = keys.block(number)
            assert cipher.encrypt(nonce, b"x", aad) == AESGCM(material[:32]).encrypt(material[32:], b"x", aad)


@pytest.mark.parametrize("kek", ["secret_kek", "recovery_key"])
def test_product_and_stranger_open_the_keyring(kek: str) -> None:
    keyring = data(KEYS["keyring"])
    opened = open_keyring(keyring, [kek_from_text(KEYS[kek])], "vector")
    secrets = {name: data(value) for name, value in KEYS["material"].items()}
    assert {name: getattr(opened.material, name) for name in secrets} == secrets
    assert vault.open_keyring(keyring, KEYS[kek]) == secrets
    assert vault.read_certificate(data(KEYS["certificate"]))["generation"] == opened.certificate.generation == 1


def test_product_and_stranger_read_the_log() -> None:
    entries = [data(vector["entry"]) for vector in LOG]
    root = vault.read_certificate(data(KEYS["certificate"]))["root"]
    state = LogState(data(KEYS["vault_id"]), root)
    for seq, entry in enumerate(entries):
        taken = state.take(seq, entry)
        assert taken is not None, state.complaints
        assert taken.digest == data(LOG[seq]["digest"])
    names = {f"v/{KEYS['vault_id']}/log/{seq:016x}": entry for seq, entry in enumerate(entries)}
    log = vault.read_log(names.get, data(KEYS["vault_id"]), root)
    assert log.skipped == 0
    assert list(log.points) == list(state.commits)
    assert {point.body["object_set"] for point in log.points.values()} == {commit.body.object_set for commit in state.commits.values()}
    assert log.keyrings == state.keyrings
    (point,) = state.commits.values()
    meta = container.derive(data(KEYS["material"]["writer_root"]), b"rcp1/meta")
    assert state.identity is not None
    record = open_point(meta, state.identity, 1, point.body.session, point.body.record)
    assert record == make_vectors.POINT
    context = b"catalogue" + data(KEYS["repo_id"]) + data(KEYS["vault_id"]) + struct.pack(">I", 1) + point.body.session
    assert unpack(container.read_record(meta, context, point.body.record))["point"] == record.point


def test_product_and_stranger_read_the_log_of_another_location() -> None:
    """It begins with the home's INIT; points come by MIRROR, go by a FORGET of its own, and have the set of their REPLACE."""
    root = vault.read_certificate(data(KEYS["certificate"]))["root"]
    replica = load("replica")
    state, names = LogState(data(KEYS["vault_id"]), root), {}
    for seq, vector in enumerate(replica):
        names[f"v/{KEYS['vault_id']}/log/{seq:016x}"] = data(vector["entry"])
        assert state.take(seq, data(vector["entry"])) is not None, state.complaints
        log = vault.read_log(names.get, data(KEYS["vault_id"]), root)
        assert log.skipped == 0
        sets = {manifest: point.body["object_set"] for manifest, point in log.points.items()}
        assert sets == {manifest: commit.body.object_set for manifest, commit in state.commits.items()}
    assert len(state.forgotten) == len(state.commits) == 1
    assert not state.at_home


def test_descriptors_and_tickets_are_read() -> None:
    assert decode_location(data(KEYS["location_descriptor"]), "x").id == data(KEYS["repo_id"])
    ref = unpack(data(LOG[0]["entry"])[128:-64])["descriptor"]
    described = reference_to(make_vectors.DESCRIPTOR)
    assert (ref["number"], ref["digest"], tuple(ref["run_keys"])) == (described.number, described.digest, described.run_keys)
    assert decode_descriptor(data(KEYS["vault_descriptor"]), described, "x").vault_id == data(KEYS["vault_id"])
    assert unpack(data(KEYS["ticket"])[:-64])["slot"] == "20260101t000000z"


def test_the_stranger_agrees_on_the_primitives() -> None:
    p = PRIMITIVES
    assert container.expand(data(p["expand"]["prk"]), data(p["expand"]["info"]), 64) == data(p["expand"]["output"])
    for label, output in p["derive"]["outputs"].items():
        assert container.derive(data(p["derive"]["key"]), label.encode()) == data(output)
    for one in p["block_ids"]:
        assert container.block_id(data(one["key"]), one["kind"], data(one["plain"])) == data(one["id"])
    for payload, text in p["texts"].values():
        assert vault.read_text(text)[1] == data(payload)
    record = p["sealed_record"]
    assert container.read_record(data(record["key"]), data(record["context"]), data(record["sealed"])) == data(record["plain"])
