"""Extension of object locks at half of their period, and deletes that wait for a lock's end, against a real server.

The provider's clock is moved by what is added to its answers; the server's own stays as it is. Each rule was taken out by hand and its
test seen to fail: what is not live is not extended, what was seen to is not asked for again, a stopped run goes on, half of the period
counts, what was not locked is tried again, locked objects get no delete marker and are not tried daily, delete markers are removed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recoup.cli.main import run as run_here
from recoup.engine.maintenance import protect as protect_module
from recoup.engine.maintenance.holds import Holder
from recoup.engine.maintenance.prune import _TRIED_FOR
from recoup.engine.stores.s3_versioned import VersionedS3Store
from recoup.engine.stores.versions import History, Version
from recoup.errors import Denied
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.fixtures import MakeBucket
from tests.cluster.s3.servers import S3Server
from tests.e2e.engine.test_object_lock import attack, listed, vault_in
from tests.unit.engine.backup.volume import picture

pytestmark = pytest.mark.s3
PERIOD = timedelta(days=2)


class Vault:
    """A vault in a bucket with object lock; commands run in this process."""

    def __init__(self, bucket: Bucket, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        made = vault_in(bucket, folder, "--object-lock", "governance:2d")
        self._common = ["--location", made.location, *made.options, "--key-file", str(made.key)]
        self._capsys = capsys
        self.bucket, self.source = bucket, folder / "source"
        self.source.mkdir()
        self.write("first", 7)

    def write(self, name: str, seed: int) -> None:
        """A file of its own blocks."""
        (self.source / name).write_bytes(random.Random(seed).randbytes(400_000))

    def run(self, command: str, *arguments: str, code: int = 0) -> Any:
        self._capsys.readouterr()
        assert run_here([command, *self._common, "-o", "json", *arguments]) == code
        out = self._capsys.readouterr().out
        return json.loads(out) if out else None

    def backup(self) -> str:
        return str(self.run("backup", "--source", str(self.source))["id"])

    def restores(self, point: str, target: Path) -> bool:
        assert run_here(["restore", *self._common, "--snapshot", point, "--target", str(target)]) == 0
        return picture(target) == picture(self.source)

    def locks(self) -> dict[str, datetime]:
        """Until when the first version under each key is locked."""
        found = {}
        for entry in sorted(listed(self.bucket), key=lambda entry: entry["LastModified"], reverse=True):
            head = self.bucket.client.head_object(Bucket=self.bucket.name, Key=entry["Key"], VersionId=entry["VersionId"])
            found[entry["Key"]] = head["ObjectLockRetainUntilDate"]
        return found

    def unlock(self) -> None:
        """As if every lock had ended."""
        for entry in listed(self.bucket):
            place = {"Bucket": self.bucket.name, "Key": entry["Key"], "VersionId": entry["VersionId"]}
            self.bucket.client.put_object_retention(**place, Retention={}, BypassGovernanceRetention=True)


@pytest.fixture
def vault(minio_server: S3Server, make_bucket: MakeBucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Vault:
    return Vault(make_bucket(minio_server, object_lock=True), tmp_path, capsys)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Move the provider's clock."""
    true = VersionedS3Store.provider_time

    def move(by: timedelta) -> None:
        monkeypatch.setattr(VersionedS3Store, "provider_time", lambda self: true(self) + by)

    return move


def test_what_is_live_is_locked_anew_at_half_of_the_period_and_nothing_else(vault: Vault, later: Callable[[timedelta], None]) -> None:
    vault.backup()
    before = set(vault.locks())
    vault.write("second", 8)
    (vault.source / "first").unlink()
    gone = vault.backup()
    only_old = {key for key in set(vault.locks()) - before if "/log/" not in key and "/x/" not in key}
    (vault.source / "second").unlink()
    vault.write("third", 9)
    vault.backup()
    vault.run("forget", gone)
    assert vault.run("protect")["whole"]  # nothing in the log says what earlier runs saw to

    quiet = vault.run("protect")
    assert (quiet["whole"], quiet["locksExtended"], quiet["recorded"]) == (False, 0, False)

    later(timedelta(hours=25))
    began = datetime.now(UTC) + timedelta(hours=25)
    short = {key for key, until in vault.locks().items() if until < began + PERIOD / 2}
    done = vault.run("protect")
    assert done["whole"]
    assert done["locksExtended"] == done["objects"] > 10
    locks = vault.locks()
    unextended = {key for key in short if locks[key] < began + PERIOD - timedelta(minutes=1)}
    assert only_old
    assert unextended <= only_old | {key for key in locks if "/x/" in key or "/m/" in key}
    assert unextended & only_old, "what only the forgotten point had is not locked any longer"
    assert not any("/log/" in key or "/keyring/" in key or "/descriptor/" in key for key in unextended)
    assert datetime.fromisoformat(done["lockedUntil"]) > began + PERIOD - timedelta(minutes=1)
    assert vault.run("prune", "--dry-run")["objectsCondemned"] >= len(unextended)


def test_between_two_rounds_only_what_is_new_is_asked_for(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, later: Callable[[timedelta], None]
) -> None:
    vault.backup()
    first = vault.run("protect")
    asked: list[str] = []
    retention = VersionedS3Store.retention
    monkeypatch.setattr(VersionedS3Store, "retention", lambda self, version: asked.append(version.name) or retention(self, version))  # type: ignore[func-returns-value]  # a note in passing
    vault.write("second", 8)
    known = set(vault.locks())
    vault.backup()
    done = vault.run("protect")
    assert (done["whole"], done["locksExtended"], done["recorded"]) == (False, 0, True)
    assert done["lockedUntil"] == first["lockedUntil"], "what was seen to before counts as well"
    fresh = {f"p/{name}" for name in asked} - known
    assert any("/d/" in name for name in fresh)
    assert not {f"p/{name}" for name in asked if "/d/" in name} & known

    later(timedelta(hours=25))
    assert vault.run("protect")["whole"]
    assert vault.run("protect", "--all")["whole"]


def test_a_run_that_was_stopped_goes_on(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.backup()
    calls = 0
    with monkeypatch.context() as patch:
        patch.setattr(protect_module, "NOTED_EVERY", 0.0)
        extend = Holder.extend

        def stop(self: Holder, history: History) -> None:
            nonlocal calls
            calls += 1
            if "/log/" not in history.name and "keyring" not in history.name and history.name > "v/" and _byte(history.name) >= 0x80:
                raise KeyboardInterrupt
            extend(self, history)

        patch.setattr(Holder, "extend", stop)
        vault.run("protect", code=130)
    again: list[str] = []
    with monkeypatch.context() as patch:
        extend = Holder.extend
        patch.setattr(Holder, "extend", lambda self, history: again.append(history.name) or extend(self, history))  # type: ignore[func-returns-value]  # a note in passing
        done = vault.run("protect")
    assert done["lockedUntil"]
    assert any(_byte(name) >= 0x80 for name in again)
    assert not [name for name in again if 0 <= _byte(name) < 0x80], "the first half was seen to before"


def _byte(name: str) -> int:
    """The first byte of an object's digest; -1 for other names."""
    parts = name.split("/")
    return int(parts[3], 16) if len(parts) == 5 and parts[2] in "dmx" else -1


def test_what_cannot_be_locked_is_told_and_tried_again(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.backup()
    hold = VersionedS3Store.hold_version

    def refuse(self: VersionedS3Store, version: Version, until: datetime, mode: str) -> None:
        if "/d/" in version.name:
            raise Denied("s3:PutObjectRetention is not allowed", reason="AccessDenied")
        hold(self, version, until, mode)

    with monkeypatch.context() as patch:
        patch.setattr(VersionedS3Store, "hold_version", refuse)
        told = vault.run("protect", code=20)
        assert (told["notLocked"] >= 1, told["lockedUntil"]) == (True, None)
    done = vault.run("protect")
    assert (done["whole"], done["notLocked"]) == (True, 0)
    assert done["lockedUntil"]


def test_an_object_that_was_put_without_a_lock_gets_one(vault: Vault) -> None:
    vault.backup()
    vault.unlock()
    assert not any(
        vault.bucket.client.head_object(Bucket=vault.bucket.name, Key=key).get("ObjectLockRetainUntilDate") for key in _keys(vault)
    )
    vault.run("protect")
    assert set(vault.locks()) == _keys(vault)


def _keys(vault: Vault) -> set[str]:
    return {entry["Key"] for entry in listed(vault.bucket)}


def test_what_was_hidden_or_overwritten_is_put_back_into_sight(vault: Vault, tmp_path: Path) -> None:
    point = vault.backup()
    attack(vault.bucket, random.Random(5))
    done = vault.run("protect")
    assert (done["putBackIntoSight"] > 10, done["hidden"], done["missing"]) == (True, 0, 0)
    contested = [entry["Key"] for entry in listed(vault.bucket) if not entry["IsLatest"]]
    assert not contested
    markers = vault.bucket.client.list_object_versions(Bucket=vault.bucket.name).get("DeleteMarkers", [])
    assert not [marker["Key"] for marker in markers]
    assert vault.restores(point, tmp_path / "back")
    assert vault.run("protect")["putBackIntoSight"] == 0


def test_a_delete_waits_for_the_lock_and_says_until_when(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = vault.backup()
    (vault.source / "first").unlink()
    vault.write("second", 8)
    vault.backup()
    vault.run("forget", gone)
    there = vault.locks()
    done = vault.run("prune", "--grace", "0h", "--dead-after", "0h")
    assert (done["objectsDeleted"], done["objectsDeferred"] > 2, done["deletesRefused"]) == (0, True, 0)
    assert done["deferredUntil"] in {until.strftime("%Y-%m-%dT%H:%M:%SZ") for until in there.values()}
    markers = vault.bucket.client.list_object_versions(Bucket=vault.bucket.name).get("DeleteMarkers", [])
    assert not markers, "hiding frees nothing"

    vault.unlock()
    freed = vault.run("prune", "--grace", "0h", "--dead-after", "0h")
    assert (freed["objectsDeleted"], freed["objectsDeferred"]) == (done["objectsDeferred"], 0)
    assert freed["bytesFreed"] == done["bytesDeferred"]
    assert len(there.keys() - _keys(vault)) == freed["objectsDeleted"], "no version is left"


def test_locked_leftovers_are_not_tried_at_each_prune(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days after the SWEEP, when whoever wrote it is surely gone, they wait for the end of the period; then they are tried again."""
    gone = vault.backup()
    (vault.source / "first").unlink()
    vault.write("second", 8)
    vault.backup()
    vault.run("forget", gone)
    deferred = vault.run("prune", "--grace", "0h", "--dead-after", "0h")["objectsDeferred"]
    vault.unlock()
    monkeypatch.setattr("recoup.engine.maintenance.prune._TRIED_FOR", timedelta(0))
    waiting = vault.run("prune")
    assert (waiting["objectsDeleted"], waiting["objectsDeferred"]) == (0, deferred)
    assert datetime.fromisoformat(waiting["deferredUntil"]) > datetime.now(UTC) + PERIOD - timedelta(minutes=5)
    monkeypatch.setattr("recoup.engine.maintenance.prune._TRIED_FOR", _TRIED_FOR)
    assert vault.run("prune")["objectsDeleted"] == deferred


def test_without_an_object_lock_there_is_nothing_to_extend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(["keygen", str(tmp_path / "key")]) == 0
    place = ["--location", f"file://{tmp_path}/location", "--key-file", str(tmp_path / "key")]
    assert run_here(["init", *place]) == 0
    assert run_here(["protect", *place]) == 2
    assert "--object-lock" in capsys.readouterr().err
