"""`--also` of the commands that look into recovery points: what one location gives damaged, or not at all, comes from another.

Every answer must be the one that the sound location gave; without --also the same commands fail. Shown to fail with the store of all
places left out of `open_point` (exit code 30).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.engine.commands import Recoup, last_error, process, run

LARGE = os.urandom(3 << 20)
COMMANDS = {
    "ls": ("ls", "A"),
    "ls of one directory": ("ls", "--no-recursive", "A", "home"),
    "find": ("find", "-o", "json", "letter"),
    "find in one point": ("find", "-o", "json", "--snapshot", "A", "letter"),
    "cat of a large part": ("cat", "A", "text", "--offset", "1000", "--length", "2MiB"),
    "cat by ranges": ("cat", "A", "text", "--offset", "1MiB", "--length", "10"),
    "diff": ("diff", "A", "B"),
    "diff with a directory": ("diff", "A", "--directory", "SOURCE"),
    "stats": ("stats", "-o", "json"),
}
DIFFERENT = 4


class Place:
    """A home with two recovery points, a whole copy, and what each command says while the home is sound."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        (self.source / "home").mkdir(parents=True)
        (self.source / "home/letter").write_text("dear")
        (self.source / "text").write_text(LARGE.hex())
        self.home = Recoup.make(folder / "at-home")
        self.points = [self.home("backup", "--source", self.source).strip()]
        (self.source / "home/letter").write_text("dear me")
        self.points.append(self.home("backup", "--source", self.source).strip())
        self.copy = f"file://{folder}/copy"
        run("replicate", "--from", self.home.location, "--to", self.copy)
        self.said = {name: self.home.process(*self.arguments(name)) for name in COMMANDS}
        assert {done.returncode for done in self.said.values()} == {0, DIFFERENT}

    def arguments(self, name: str) -> tuple[str, ...]:
        words = {"A": self.points[0], "B": self.points[1], "SOURCE": str(self.source)}
        command, *rest = (words.get(word, word) for word in COMMANDS[name])
        return (command, *rest)

    def spoiled(self, folder: Path, *, gone: bool) -> Recoup:
        """The home's log and keys, and of its objects nothing that is right."""
        there = folder / "spoiled"
        shutil.copytree(self.home.location.removeprefix("file://"), there)
        objects = [path for path in there.glob("v/*/[dmx]/*/*") if path.is_file()]
        assert objects
        for path in objects:
            data = path.read_bytes()
            path.unlink()
            if not gone:
                path.write_bytes(bytes(byte ^ 0x55 for byte in data[:4096]) + data[4096:])
        return Recoup(f"file://{there}", self.home.key)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("reading")
    (folder / "at-home").mkdir()
    return Place(folder)


@pytest.fixture(scope="module")
def damaged(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Recoup:
    return place.spoiled(tmp_path_factory.mktemp("damaged"), gone=False)


@pytest.fixture(scope="module")
def emptied(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Recoup:
    return place.spoiled(tmp_path_factory.mktemp("emptied"), gone=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_damaged_comes_from_elsewhere(place: Place, damaged: Recoup, name: str) -> None:
    alone = damaged.process(*place.arguments(name))
    assert alone.returncode == 30, alone.stdout
    assert alone.stdout == ""
    done = damaged.process(*place.arguments(name), "--also", place.copy)
    assert (done.returncode, done.stdout) == (place.said[name].returncode, place.said[name].stdout), done.stderr
    assert f"an object is bad at {damaged.location} and is looked for elsewhere" in notices(done.stderr)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "stats"])
def test_what_is_missing_comes_from_elsewhere(place: Place, emptied: Recoup, name: str) -> None:
    """Stats is another matter: indexes and caches of a home are not copied, and what is missing takes nothing."""
    done = emptied.process(*place.arguments(name), "--also", place.copy)
    assert (done.returncode, done.stdout) == (place.said[name].returncode, place.said[name].stdout), done.stderr
    assert f"an object is bad at {emptied.location} and is looked for elsewhere" in notices(done.stderr)


@pytest.mark.parametrize("name", ["ls", "cat by ranges"])
def test_a_home_that_is_away(place: Place, name: str, tmp_path: Path) -> None:
    command, *rest = place.arguments(name)
    away = f"file://{tmp_path}/not/mounted"
    common = (command, "--location", away, "--key-file", str(place.home.key), *rest)
    alone = process(*common)
    assert alone.returncode == 20
    assert last_error(alone)
    done = process(*common, "--also", place.copy)
    assert (done.returncode, done.stdout) == (0, place.said[name].stdout), done.stderr
    assert f"{away} cannot be used" in notices(done.stderr)


def notices(stderr: str) -> str:
    """What was said on the way, as programs read it."""
    found = (json.loads(line) for line in stderr.splitlines() if line.startswith("{"))
    return "\n".join(one["notice"] for one in found if "notice" in one)
