"""Dumps that are piped in: one file of unknown length; a command counts only if it succeeds; nothing is made of nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recoup.engine.records.tree import FileType
from recoup.engine.source.stream import Stream
from recoup.errors import Usage
from tests.unit.engine.backup.volume import Volume

RECOUP = [sys.executable, "-m", "recoup.cli.main"]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume.make(tmp_path)
    (tmp_path / "keys").mkdir()
    volume.vault.writer.save(tmp_path / "keys")
    return volume


def run(volume: Volume, data: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
    keys = str(volume.source.parent / "keys")
    command = [*RECOUP, "backup", "--location", volume.store.url, "--writer-keys", keys, *more]
    return subprocess.run(command, input=data, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize("size", [1, 4096, (512 << 10) + 1, 9 << 20])
def test_what_is_piped_in_comes_back_as_one_file(volume: Volume, size: int) -> None:
    data = random.Random(size).randbytes(size)
    done = run(volume, data, "--stdin", "dump.sql", "-o", "json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["filesTotal"], shown["bytesTotal"], shown["bytesRead"]) == (1, size, size)
    assert [(unit["unit"], unit["first"]) for unit in shown["units"]] == [("cdc", "dump.sql")]
    (entry,) = volume.entries(shown["id"]).values()
    assert (entry.name, entry.type, entry.size, entry.mode) == (b"dump.sql", FileType.REGULAR, size, 0o600)
    assert (volume.restore(shown["id"]) / "dump.sql").read_bytes() == data
    assert [path.name for path in volume.restore(shown["id"]).iterdir()] == ["dump.sql"]


def test_the_next_dump_stores_what_is_new(volume: Volume) -> None:
    """Some 2 MiB around the change; where it is cut, and so how much that is, depends on the vault's key."""
    data = bytearray(random.Random(1).randbytes(24 << 20))
    first = json.loads(run(volume, bytes(data), "--stdin", "d", "-o", "json").stdout)
    data[5 << 20 : 5 << 20] = b"a line more"
    second = json.loads(run(volume, bytes(data), "--stdin", "d", "-o", "json").stdout)
    assert second["notes"] == []
    assert second["bytesStored"] < 12 << 20 < first["bytesStored"]
    assert (volume.restore(second["id"]) / "d").read_bytes() == data


def test_dumps_of_other_names_are_other_volumes(volume: Volume) -> None:
    for name in ("one", "two"):
        shown = json.loads(run(volume, b"x" * 5000, "--stdin", name, "-o", "json").stdout)
        assert shown["notes"] == ["there is no earlier recovery point of this volume"]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ((), "SourceEmpty"),
        (("--", "true"), "SourceEmpty"),
        (("--", "sh", "-c", "seq 10000; exit 3"), "SourceCommandFailed"),
        (("--", "sh", "-c", "seq 10000; kill -9 $$"), "SourceCommandFailed"),
        (("--", "/does/not/exist"), "SourceCommandFailed"),
    ],
)
def test_a_stream_that_failed_is_no_recovery_point(volume: Volume, more: tuple[str, ...], reason: str) -> None:
    done = run(volume, b"", "--stdin", "dump.sql", *more)
    assert (done.returncode, done.stdout) == (20, b"")
    assert f"[{reason}]" in done.stderr.decode()
    assert not volume.vault.log.follow().commits


def test_an_empty_stream_can_be_allowed(volume: Volume) -> None:
    done = run(volume, b"", "--stdin", "none", "--allow-empty")
    assert done.returncode == 0, done.stderr
    assert (volume.restore(done.stdout.decode().strip()) / "none").read_bytes() == b""


def test_a_command_may_read_standard_input(volume: Volume) -> None:
    done = run(volume, b"through", "--stdin", "out", "--", "tr", "a-z", "A-Z")
    assert (volume.restore(done.stdout.decode().strip()) / "out").read_bytes() == b"THROUGH"


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--source", "/tmp", "--stdin", "x"),
        ("--source", "/tmp", "--", "true"),
        ("--source", "/tmp", "--allow-empty"),
        ("--stdin", "x", "--exclude", "*.tmp"),
        ("--stdin", "x", "--one-file-system"),
        ("--stdin", "a/b"),
        ("--stdin", ".."),
        ("--stdin", ""),
        ("--stdin", "n" * 256),
    ],
)
def test_wrong_calls_read_and_make_nothing(volume: Volume, more: tuple[str, ...]) -> None:
    before = volume.stored()
    done = run(volume, b"data", *more)
    assert done.returncode == 2, done.stderr
    assert volume.stored() == before


def test_a_command_is_ended_when_the_backup_fails() -> None:
    with Stream("x", ("sleep", "600")) as stream:
        process = stream._process
        assert process is not None
        assert process.poll() is None
    assert process.returncode == -signal.SIGTERM


def test_a_terminal_is_no_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with os.fdopen(follower) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with pytest.raises(Usage, match="terminal"), Stream("x"):
            pass
    os.close(leader)
