"""The probe on every place: it passes where create-if-absent is atomic, fails where not, and cleans up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recoup.engine.probe import LEAST_RACES, Probe, probe
from recoup.engine.stores.base import Buffer, Credentials, Store
from recoup.engine.stores.file import FileStore
from recoup.errors import Denied
from tests.cluster.s3.servers import S3Server
from tests.contract.stores.places import Place, bucket_place


def verdicts(result: Probe) -> dict[str, str]:
    return {finding.check: finding.reason or finding.verdict for finding in result.findings}


def test_an_atomic_place_passes_and_nothing_is_left(atomic_place: Place) -> None:
    store = atomic_place.open()
    result = probe(store, time_limit=200)
    assert result.conformant, verdicts(result)
    assert result.races == 48
    assert result.left_behind == 0
    assert list(store.list("")) == []


class Wrapped(FileStore):
    """A store that misbehaves in one way."""


class Overwrites(Wrapped):
    def create(self, name: str, data: Buffer) -> bool:
        self.delete(name)
        return super().create(name, data)


class LetsTwoWin(Wrapped):
    """Atomic one after another, but of those that come at once several are told that they won."""

    count = itertools.count()

    def create(self, name: str, data: Buffer) -> bool:
        if "race-" not in name:
            return super().create(name, data)
        return super().create(name, data) or next(self.count) % 7 == 0


class ForgetsWinners(Wrapped):
    def get(self, name: str, limit: int = 2**28) -> bytes:
        data = super().get(name, limit)
        return data if "race-" not in name else data + b"?"


class IgnoresRanges(Wrapped):
    def get_range(self, name: str, start: int, length: int) -> bytes:
        del start, length
        return self.get(name)


class KeepsDeleted(Wrapped):
    def delete(self, name: str) -> None:
        pass


class ListsHalf(Wrapped):
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return itertools.islice(super().list(prefix), 20)


class NoDeletes(Wrapped):
    def delete(self, name: str) -> None:
        raise Denied(f"{name}: not allowed")


class NoLists(Wrapped):
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        raise Denied(f"{prefix}: not allowed")


class LateClock(Wrapped):
    def clock_skew(self) -> float | None:
        return -1000.0


class Corrupts(Wrapped):
    def get(self, name: str, limit: int = 2**28) -> bytes:
        return super().get(name, limit)[:-1]


class TakesAnyChecksum(Wrapped):
    def refuses_wrong_checksum(self, name: str) -> bool:
        return not name


@pytest.mark.parametrize(
    ("kind", "check", "reason", "conformant"),
    [
        (Overwrites, "create if absent", "NotAtomic", False),
        (LetsTwoWin, "create if absent, under races", "NotAtomic", False),
        (ForgetsWinners, "create if absent, under races", "NotAtomic", False),
        (IgnoresRanges, "ranges", "RangesIgnored", False),
        (KeepsDeleted, "deletes", "DeletesIgnored", False),
        (LateClock, "clock", "ClockSkewed", False),
        (Corrupts, "write and read", "ReadsDiffer", False),
        (ListsHalf, "listing", "ListIncomplete", True),
        (NoLists, "listing", "ListDenied", True),
        (NoDeletes, "deletes", "passed", True),
        (TakesAnyChecksum, "checksums", "ChecksumIgnored", True),
    ],
)
def test_each_misbehaviour_is_found(tmp_path: Path, kind: Callable[[str], Store], check: str, reason: str, conformant: bool) -> None:
    (tmp_path / "location").mkdir()
    result = probe(kind(str(tmp_path / "location")))
    assert verdicts(result)[check] == reason
    assert result.conformant == conformant
    if not conformant:
        failure = result.first_failure()
        assert failure is not None
        assert failure.message


@pytest.mark.s3
def test_a_real_server_that_is_not_atomic_is_found_out(versitygw_server: S3Server) -> None:
    keys = versitygw_server.credentials
    store = bucket_place(versitygw_server.endpoint, Credentials(keys.access_key, keys.secret_key)).open()
    result = probe(store)
    assert verdicts(result)["create if absent, under races"] == "NotAtomic"
    assert verdicts(result)["create if absent"] == "passed"
    assert not result.conformant
    assert list(store.list("")) == []


def test_time_is_bounded_but_too_few_races_are_not_enough(tmp_path: Path) -> None:
    ticks = itertools.count(0, 30)
    result = probe(FileStore(str(tmp_path / "location")), clock=lambda: float(next(ticks)))
    assert result.races == LEAST_RACES
    assert result.conformant


def test_what_may_not_be_deleted_is_counted(tmp_path: Path) -> None:
    result = probe(NoDeletes(str(tmp_path / "location")))
    assert result.left_behind == 49
