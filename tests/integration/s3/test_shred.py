"""Replaced and shredded keyrings in buckets with versions and object lock: gone for good, or said to be there and until when."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from recoup.engine.keys.kek import SecretKek
from recoup.engine.log.follow import Log
from recoup.engine.rekey import add_keks, remove_keks
from recoup.engine.shred import shred
from recoup.engine.stores.base import Store, StoreOptions
from recoup.engine.stores.registry import open_store
from recoup.engine.stores.versions import erase, names_below
from recoup.engine.vault import Unlocked, open_vault
from recoup.errors import KeyUnavailable
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.servers import S3Server
from tests.unit.engine.keys.vaults import KEK, unlocked

pytestmark = pytest.mark.s3
OTHER = SecretKek.generate()


def store_on(bucket: Bucket) -> Store:
    key = bucket.server.credentials.environment()
    os.environ.update(key)
    return open_store(bucket.url("prefix"), StoreOptions(endpoint_url=bucket.server.endpoint))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, minio_server: S3Server) -> None:
    for name, value in minio_server.credentials.environment().items():
        monkeypatch.setenv(name, value)


def keyrings(bucket: Bucket, vault: Unlocked) -> list[str]:
    """Every version below keyring/, as the server tells."""
    prefix = f"prefix/v/{vault.identity.vault_id.hex()}/keyring/"
    answer = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=prefix)
    return [entry["Key"] for entry in answer.get("Versions", [])]


def test_old_versions_of_replaced_and_shredded_keyrings_are_gone(make_bucket: MakeBucket, minio_server: S3Server) -> None:
    bucket = make_bucket(minio_server, versioned=True)
    store = store_on(bucket)
    vault = unlocked(store)
    first = next(name for name, _ in store.list(f"v/{vault.identity.vault_id.hex()}/keyring/"))
    store.delete(first)  # as somebody without a right to versions does: a delete marker, and the version stays
    store.create(
        first, bucket.client.get_object(Bucket=bucket.name, Key=keyrings(bucket, vault)[0], VersionId=_oldest(bucket))["Body"].read()
    )
    assert len(keyrings(bucket, vault)) == 2
    done = add_keks(vault.log, [KEK], [OTHER])
    assert (done.removed, done.kept) == ((first,), ())
    assert len(keyrings(bucket, vault)) == 1
    result = shred([vault.log], vault.reader.signer, datetime.now(UTC))
    assert result.complete
    assert not keyrings(bucket, vault)
    assert not bucket.client.list_object_versions(Bucket=bucket.name, Prefix=f"prefix/v/{vault.identity.vault_id.hex()}/keyring/").get(
        "DeleteMarkers"
    )


def _oldest(bucket: Bucket) -> str:
    versions = bucket.client.list_object_versions(Bucket=bucket.name, Prefix="prefix/v/")["Versions"]
    return min((entry for entry in versions if "/keyring/" in entry["Key"]), key=lambda entry: entry["LastModified"])["VersionId"]


def test_what_is_locked_is_named_with_its_date_and_opens_until_then(make_bucket: MakeBucket, minio_server: S3Server) -> None:
    bucket = make_bucket(minio_server, object_lock=True)
    store = store_on(bucket)
    vault = unlocked(store)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    (key,) = keyrings(bucket, vault)
    bucket.client.put_object_retention(Bucket=bucket.name, Key=key, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until})
    done = remove_keks(vault.log, [KEK, OTHER], [KEK.id], [OTHER])
    (kept,) = done.kept
    assert (f"prefix/{kept.name}", kept.until, kept.reason) == (key, until, "locked")
    assert kept.name not in [name for name, _ in store.list("v/")]  # out of sight at least
    result = shred([vault.log], vault.reader.signer, datetime.now(UTC))
    assert not result.complete
    (place,) = result.statement.places
    assert result.statement.phase == "incomplete"
    (left,) = place.remaining
    assert (f"prefix/{left.name}", left.until) == (key, until.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert place.destroyed_total == 1
    log = Log(store, vault.identity.vault_id, root_public=vault.identity.root_public)
    log.follow()
    with pytest.raises(KeyUnavailable):
        open_vault(log, [OTHER], pinned=True)
    bucket.client.delete_object(Bucket=bucket.name, Key=key, VersionId=left.version, BypassGovernanceRetention=True)
    again = shred([log], None, datetime.now(UTC))  # when the lock has ended: no key is needed, and none would open it
    assert again.complete
    assert not keyrings(bucket, vault)


def test_a_bucket_without_versions_has_nothing_left_either(bucket: Bucket) -> None:
    store = store_on(bucket)
    store.create("v/one", b"1")
    store.create("v/one.more", b"2")
    assert names_below(store, "v/one") == ["v/one", "v/one.more"]
    assert erase(store, "v/one") == []
    assert erase(store, "v/one") == []
    assert names_below(store, "v/") == ["v/one.more"]


def test_a_server_that_knows_no_versions_deletes(
    versitygw_server: S3Server, make_bucket: MakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(versitygw_server)
    store = store_on(bucket)
    store.create("v/one", b"1")
    assert erase(store, "v/one") == []
    assert store.size("v/one") is None
