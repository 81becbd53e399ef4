"""Runs beside each other on one machine get names and networks of their own. No cluster is made here."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import cgroups, network, places, record
from tests.cluster.trouble import Trouble

NAME_OF_A_SESSION = """
import pathlib, sys
from tests.cluster import places
places.SESSIONS = pathlib.Path(sys.argv[1])
places.cache = lambda: pathlib.Path(sys.argv[1])
from tests.cluster.plugin import _session_name
name, lock = _session_name()
print(name, flush=True)
input()
"""


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without clusters."""
    monkeypatch.setattr(places, "CLUSTERS", tmp_path)
    monkeypatch.setattr(cgroups, "names", list)
    monkeypatch.setattr(network, "is_free", lambda addresses: addresses.number != 2)  # something else uses number 2
    monkeypatch.delenv(record.OWNER_VARIABLE, raising=False)
    return tmp_path


def test_clusters_claimed_at_once_get_different_networks(empty_machine: Path) -> None:
    def claim(name: str) -> record.Record:
        with record.changing():
            return record.claim(name)

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(claim, [f"c{number}" for number in range(8)]))
    assert sorted(made.number for made in claimed) == [1, 3, 4, 5, 6, 7, 8, 9]
    assert {made.name: made for made in claimed} == {name: record.load(name) for name in record.every_name()}
    assert len({made.addresses.pods for made in claimed}) == len(claimed)


def test_when_every_network_is_taken_it_says_so(empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "NUMBERS", range(1, 3))
    with record.changing():
        record.claim("first")
        with pytest.raises(Trouble, match="in use"):
            record.claim("second")
    assert record.every_name() == ["first"]


def test_an_owner_that_is_no_process_is_refused(empty_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("me", str(2**22 + 1)):
        monkeypatch.setenv(record.OWNER_VARIABLE, wrong)
        with record.changing(), pytest.raises(Trouble, match=record.OWNER_VARIABLE):
            record.claim("x")


def test_sessions_beside_each_other_use_different_clusters(tmp_path: Path) -> None:
    def session() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", NAME_OF_A_SESSION, str(tmp_path)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=places.CHECKOUT)

    def name_of(process: "subprocess.Popen[str]") -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    first, second = session(), session()
    assert {name_of(first), name_of(second)} == {"pytest-0", "pytest-1"}
    first.kill()
    first.communicate()
    third = session()
    assert name_of(third) in {"pytest-0", "pytest-1"}, "the name of a killed session is free again"
    for process in (second, third):
        process.communicate("\n")
