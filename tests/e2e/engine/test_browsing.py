"""find, cat, diff and stats as people and programs see them, and restores of parts by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.engine.commands import Recoup, last_error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browsing")


@pytest.fixture(scope="module")
def recoup(folder: Path) -> Recoup:
    return Recoup.make(folder)


@pytest.fixture(scope="module")
def points(recoup: Recoup, folder: Path) -> list[str]:
    """Three recovery points of a directory that changes: (first state), (some changes), (nothing more)."""
    source = folder / "source"
    (source / "home/anna").mkdir(parents=True)
    (source / "home/bert/deep").mkdir(parents=True)
    (source / "home/anna/letter").write_text("dear")
    (source / "home/anna/old.conf").write_text("1")
    (source / "home/bert/letter").write_text("hello")
    (source / "home/bert/deep/letter").symlink_to("../letter")
    (source / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"x" * 10)
    (source / "large").write_bytes(LARGE)
    with (source / "sparse").open("wb") as stream:
        stream.truncate(3 << 20)
        stream.seek(1 << 20)
        stream.write(b"island")
    os.utime(source / "home/anna/letter", ns=(1, 1))
    made = [recoup("backup", "--source", source).strip()]
    (source / "home/anna/letter").write_text("dear me")
    (source / "home/anna/old.conf").unlink()
    (source / "home/anna/new.conf").write_text("2")
    (source / "home/bert/letter").chmod(0o600)
    (source / "home/bert/deep/letter").unlink()
    (source / "home/bert/deep/letter").mkdir()
    with (source / "large").open("r+b") as stream:
        stream.seek(3 << 20)
        stream.write(b"!")
    made += [recoup("backup", "--source", source).strip() for _ in range(2)]
    return made


LARGE = os.urandom(5 << 20)


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_find_says_which_points_hold_which_version(recoup: Recoup, points: list[str]) -> None:
    found = lines(recoup("find", "-o", "json", "letter", "--type", "f"))
    assert [(one["path"], one["size"], one["points"]) for one in found] == [
        ("home/anna/letter", 4, points[:1]),
        ("home/anna/letter", 7, points[1:]),
        ("home/bert/letter", 5, points[:1]),
        ("home/bert/letter", 5, points[1:]),
    ]
    assert found[2]["version"] == found[3]["version"], "only its mode changed"
    assert found[0]["version"] != found[1]["version"]
    text = recoup("find", "*.conf").splitlines()
    assert text[0].endswith("home/anna/new.conf")
    assert text[1].split() == ["in", points[1][:16], points[2][:16]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("home/bert/**", "--type", "d"), {"home/bert/deep", "home/bert/deep/letter"}),
        (("--size", "+1MB"), {"large", "sparse"}),
        (("--size", "-5", "--type", "f"), {"home/anna/letter", "home/anna/old.conf", "home/anna/new.conf", "home/bert/letter"}),
        (("--size", "10"), {"not-\\xff-utf8"}),
        (("letter", "--newer", "1d"), {"home/anna/letter", "home/bert/letter", "home/bert/deep/letter"}),
        (("letter", "--type", "f", "--newer", "2001-01-01"), {"home/anna/letter", "home/bert/letter"}),
        (("no-such-thing",), set()),
    ],
)
def test_find_by_type_size_and_time(recoup: Recoup, points: list[str], arguments: tuple[str, ...], expected: set[str]) -> None:
    assert points
    assert {one["path"] for one in lines(recoup("find", "-o", "json", *arguments))} == expected


def test_find_in_one_point(recoup: Recoup, points: list[str]) -> None:
    found = lines(recoup("find", "-o", "json", "letter", "--snapshot", points[0]))
    assert [(one["path"], one["type"]) for one in found] == [
        ("home/anna/letter", "regular"),
        ("home/bert/letter", "regular"),
        ("home/bert/deep/letter", "symlink"),
    ]
    assert recoup.process("find").returncode == 2
    assert "is no time" in last_error(recoup.process("find", "--newer", "yesterday"))


def test_cat_writes_bytes_and_ranges_and_holes(recoup: Recoup, points: list[str], folder: Path) -> None:
    def cat(*arguments: str) -> bytes:
        with (folder / "catted").open("wb") as stream:
            common = ("--location", recoup.location, "--key-file", str(recoup.key))
            done = subprocess.run([sys.executable, "-m", "recoup.cli.main", "cat", *common, *arguments], check=False, stdout=stream)
        assert done.returncode == 0
        return (folder / "catted").read_bytes()

    assert cat(points[0], "large") == LARGE
    assert cat(points[0], "/large", "--offset", "3000000", "--length", "2000000") == LARGE[3_000_000:5_000_000]
    assert cat(points[2], "large", "--offset", str(3 << 20), "--length", "1") == b"!"
    assert cat(points[0], "large", "--offset", "6MiB") == b""
    assert cat(points[0], "sparse") == bytes(1 << 20) + b"island" + bytes((2 << 20) - 6)
    assert cat(points[0], "sparse", "--offset", str((1 << 20) - 2), "--length", "10") == b"\0\0island\0\0"
    for path, reason in (("home/carl", "PathNotFound"), ("home", "NotFile"), ("home/bert/deep/letter", "NotFile")):
        done = recoup.process("cat", points[0], path)
        assert done.returncode == 20
        assert f"[{reason}]" in last_error(done)


CHANGED = {
    ("home", "metadata"): False,
    ("home/anna/letter", "content"): True,
    ("home/anna/new.conf", "added"): True,
    ("home/anna/old.conf", "removed"): True,
    ("home/bert/deep/letter", "type"): True,
    ("home/bert/letter", "metadata"): True,
    ("large", "content"): True,
}


def test_diff_of_two_points(recoup: Recoup, points: list[str]) -> None:
    done = recoup.process("diff", "-o", "json", points[0], points[1])
    assert done.returncode == 4
    found = {(one["path"], one["change"]): one for one in lines(done.stdout)}
    expected = {key for key, told in CHANGED.items() if told}
    directories = {("home/anna", "metadata"), ("home/bert/deep", "metadata")}
    assert set(found) == expected | directories
    assert found["home/bert/letter", "metadata"]["metadata"] == ["mode"]
    same = recoup.process("diff", points[1], points[2])
    assert (same.returncode, same.stdout) == (0, "")
    back = recoup.process("diff", points[1], points[0]).stdout.splitlines()
    assert "+ home/anna/old.conf" in back
    assert "- home/anna/new.conf" in back
    assert "T home/bert/deep/letter (directory → symlink)" in back
    part = recoup.process("diff", points[0], points[1], "--path", "home/bert").stdout.splitlines()
    assert part == ["m home/bert/deep (mtime)", "m home/bert/letter (mode)", "T home/bert/deep/letter (symlink → directory)"]


def test_diff_against_a_directory(recoup: Recoup, points: list[str], folder: Path) -> None:
    same = recoup.process("diff", points[2], "--directory", str(folder / "source"))
    assert (same.returncode, same.stdout) == (0, ""), same.stdout
    done = recoup.process("diff", "-o", "json", points[0], "--directory", str(folder / "source"))
    assert done.returncode == 4
    assert {(one["path"], one["change"]) for one in lines(done.stdout)} >= {key for key, told in CHANGED.items() if told}
    assert recoup.process("diff", points[0]).returncode == 2


def test_stats_add_up(recoup: Recoup, points: list[str]) -> None:
    found = recoup.json("stats")
    rows = found["recoveryPoints"]
    assert [row["id"] for row in rows] == points
    for row in rows:
        assert row["bytesStored"] == row["uniqueBytes"] + row["sharedBytes"]
        assert 0 < row["uniqueBytes"] < row["bytesStored"]
    assert rows[0]["sharedBytes"] > 3 << 20, "the large file's blocks are shared"
    assert found["total"]["bytesStored"] < sum(row["bytesStored"] for row in rows)
    assert found["total"]["bytesStored"] > sum(row["uniqueBytes"] for row in rows)
    objects = Path(recoup.location.removeprefix("file://")).glob("v/*/[dmx]/*/*")
    assert found["total"]["bytesStored"] == sum(path.stat().st_size for path in objects), "nothing is stored that no point needs"
    assert "3 recovery points take" in recoup("stats")


def test_ls_short_and_of_one_directory(recoup: Recoup, points: list[str]) -> None:
    assert recoup("ls", "--short", "--no-recursive", points[0], "home").splitlines() == ["home", "home/anna", "home/bert"]
    assert recoup("ls", "--short", "--no-recursive", points[0]).splitlines() == ["home", "large", "not-\\xff-utf8", "sparse"]


def test_restore_of_a_part_in_place_with_a_plan(recoup: Recoup, points: list[str], folder: Path) -> None:
    target = folder / "target"
    common = ("--snapshot", points[0], "--target", target)
    plan = recoup.json("restore", *common, "--plan", "--include", "large", "--include", "*.conf")
    assert (plan["new"]["files"], plan["new"]["bytes"]) == (2, len(LARGE) + 1)
    assert plan["fetch"][0]["bytes"] > 5 << 20
    assert not target.exists(), "a plan changes nothing"
    recoup("restore", *common, "--include", "large", "--include", "*.conf")
    assert sorted(path.name for path in target.rglob("*")) == ["anna", "home", "large", "old.conf"]
    (target / "mine").write_text("x")
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    refused = recoup.process("restore", *common, "--plan")
    assert refused.returncode == 20
    assert "[TargetNotEmpty]" in last_error(refused)
    plan = recoup.json("restore", "--snapshot", points[2], "--target", target, "--existing", "mirror", "--plan")
    assert {one["path"] for one in plan["deleted"]["listed"]} == {"mine", "home/anna/old.conf"}
    assert plan["changedInPlace"]["files"] == 1
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    done = recoup.json("restore", "--snapshot", points[2], "--target", target, "--existing", "mirror")
    assert done["deleted"] == 2
    assert done["bytesKept"] > 1 << 20
    assert recoup.process("diff", points[2], "--directory", target).returncode == 0
