"""A reader written from docs/format.md alone understands what the product writes, and what the product refuses it refuses too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.msgpack import decode

from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.sealed import ObjectBuilder
from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.passphrase import Cost, PassphraseKek
from recoup.engine.log.bodies import Abort, Commit
from recoup.engine.log.follow import Log
from recoup.engine.log.points import PointRecord, seal_point
from recoup.engine.stores.base import Store
from recoup.engine.vault import Provisioned, provision
from recoup.errors import NotFound
from tests.stranger import container, vault
from tests.unit.engine.keys.vaults import new_store
from tests.unit.engine.log.entries import open_body

KEK, OFFLINE, HYBRID = SecretKek.generate(), RecipientKek.generate(), RecipientKek.generate(hybrid=True)
PHRASE = "six words that nobody will guess"
RECORD = PointRecord("p", "s", "daily", "CrashConsistent", ("a",), '{"path":"/x"}', "directory", 1, 2, 3, 4, 5, 6, 0, "recoup")


def getter(store: Store) -> vault.Get:
    def get(name: str) -> bytes | None:
        try:
            return store.get(name)
        except NotFound:
            return None

    return get


@pytest.fixture
def store() -> Store:
    return new_store()


@pytest.fixture
def made(store: Store) -> Provisioned:
    phrase = PassphraseKek.from_text(PHRASE, Cost(64 << 10, 3, 4))
    return provision(store, [KEK, phrase], [OFFLINE.recipient, HYBRID.recipient], vault_id=os.urandom(16), labels={})


def put(store: Store, made: Provisioned, kind: Kind, *plains: bytes) -> bytes:
    builder = ObjectBuilder(made.writer.sealing(kind), 1 << 20)
    for plain in plains:
        builder.add(block_id(made.writer.id_key, BlockKind.DATA, plain), BlockKind.DATA, Codec.RAW, len(plain), plain)
    sealed = builder.close(stored_size=None)
    assert store.create(sealed.name, bytes(sealed.data))
    return sealed.digest


@pytest.mark.parametrize(
    "kek", [KEK.to_text(), OFFLINE.to_text(), HYBRID.to_text(), PHRASE], ids=["secret", "recipient", "hybrid", "passphrase"]
)
def test_a_stranger_reads_keyring_log_objects_and_records(store: Store, made: Provisioned, kek: str) -> None:
    writer = made.writer
    log = Log(store, writer.identity.vault_id, root_public=writer.identity.root_public)
    aborted, session = os.urandom(16), os.urandom(16)
    first = log.append(open_body(aborted), writer.signer).head.seq
    log.append(Abort(aborted, first), writer.signer)
    opened = log.append(open_body(session), writer.signer).head.seq
    digests = {kind: put(store, made, kind, b"one", b"two" * 1000, os.urandom(100)) for kind in Kind}
    record = seal_point(writer.meta_key, writer.identity, 1, session, RECORD)
    log.append(Commit(session, opened, b"", digests[Kind.MANIFEST], os.urandom(32), (), b"", record), writer.signer)
    stranger = vault.Vault(getter(store), kek, made.fingerprint)
    assert stranger.log.skipped == 0
    (point,) = stranger.log.points.values()
    context = b"catalogue" + writer.identity.repo_id + stranger.id + (1).to_bytes(4, "big") + session
    assert decode(container.read_record(writer.meta_key, context, point.body["record"]))["source"] == '{"path":"/x"}'
    for kind, digest in digests.items():
        found = stranger.object(kind.area, digest)
        assert [block.plain for block in found[:2]] == [b"one", b"two" * 1000]
        id_key = stranger.id_key(1)
        assert all(container.block_id(id_key, block.kind, block.plain) == block.id for block in found)


def test_a_stranger_with_another_key_or_fingerprint_reads_nothing(store: Store, made: Provisioned) -> None:
    get = getter(store)
    for wrong in (SecretKek.generate(), RecipientKek.generate(), RecipientKek.generate(hybrid=True)):
        with pytest.raises(container.Unreadable):
            vault.Vault(get, wrong.to_text(), made.fingerprint)
    with pytest.raises(container.Unreadable):
        vault.Vault(get, "six words that somebody will guess", made.fingerprint)
    other = provision(new_store(), [KEK], [], vault_id=made.writer.identity.vault_id, labels={})
    assert vault.read_log(get, made.writer.identity.vault_id, other.writer.identity.root_public).points == {}


def test_the_stranger_shares_no_line_with_the_product() -> None:
    for path in Path(__file__).parent.glob("*.py"):
        if not path.name.startswith("test_"):
            assert "recoup." not in path.read_text().replace("recoup.dev", "")
