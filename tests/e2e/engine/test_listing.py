"""`snapshots` and `ls` as people and programs see them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.engine.commands import Recoup, last_error, process


@pytest.fixture
def recoup(tmp_path: Path) -> Recoup:
    source = tmp_path / "source"
    (source / "home/anna").mkdir(parents=True)
    (source / "home/anna/letter").write_text("dear")
    (source / "home/bert").mkdir()
    (source / "home/bert/link").symlink_to("../anna/letter")
    os.mkfifo(source / "pipe", 0o600)
    (source / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"x" * 10)
    return Recoup.make(tmp_path)


def test_points_are_listed_in_order_and_found_by_part_of_their_id(recoup: Recoup, tmp_path: Path) -> None:
    ids = [recoup("backup", "--source", tmp_path / "source").strip() for _ in range(3)]
    listed = recoup.json("snapshots")
    assert [point["id"] for point in listed] == ids
    assert {point["filesTotal"] for point in listed} == {4}
    assert {point["errors"] for point in listed} == {0}
    table = recoup("snapshots").splitlines()
    assert table[0].split() == ["ID", "TIME", "SOURCE", "FILES", "SIZE", "ERRORS", "VERIFIED"]
    assert [line.split()[0] for line in table[1:]] == [name[:16] for name in ids]
    assert str(tmp_path / "source") in table[1]
    for wanted in (ids[1], ids[1][:16], ids[1][:20].upper()):
        assert recoup("ls", wanted)
    for wanted, code, reason in (("123", 2, "Usage"), ("xyz!", 2, "Usage"), ("0" * 64, 20, "UnknownSnapshot")):
        done = recoup.process("ls", wanted)
        assert done.returncode == code
        assert f"[{reason}]" in last_error(done)


def test_ls_lists_all_or_what_is_below_a_path(recoup: Recoup, tmp_path: Path) -> None:
    point = recoup("backup", "--source", tmp_path / "source").strip()
    entries = {entry["path"]: entry for entry in map(json.loads, recoup("ls", "-o", "json", point).splitlines())}
    assert set(entries) == {"home", "home/anna", "home/anna/letter", "home/bert", "home/bert/link", "not-\\xff-utf8", "pipe"}
    assert entries["home/bert/link"]["target"] == "../anna/letter"
    assert entries["pipe"]["type"] == "fifo"
    assert (entries["home/anna/letter"]["size"], entries["home/anna/letter"]["mode"]) == (4, "0644")
    below = [json.loads(line)["path"] for line in recoup("ls", "-o", "json", point, "home/bert").splitlines()]
    assert below == ["home/bert", "home/bert/link"]
    one = recoup("ls", point, "/home/anna/letter").splitlines()
    assert len(one) == 1
    assert one[0].startswith("-rw-r--r-- ")
    missing = recoup.process("ls", point, "home/carl")
    assert missing.returncode == 20
    assert "[PathNotFound]" in last_error(missing)


def test_doctor_passes_a_directory_and_writes_its_report(recoup: Recoup, tmp_path: Path) -> None:
    done = process("doctor", "--location", recoup.location, "-o", "json", "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["conformant"]
    report = json.loads((tmp_path / "report").read_text())
    assert (report["outcome"], report["reason"]) == ("Succeeded", "")
    assert not (tmp_path / "location/probe").exists()
