"""Every command that reads understands the golden repositories of format 1: what an older version stored is read for ever."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recoup.cli.main import run
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.format.names import parse_object_name
from recoup.engine.format.reader import ObjectReader
from recoup.engine.keys.kek import kek_from_text
from recoup.engine.keys.text import decode_fingerprint
from recoup.engine.log.bodies import EntryType, Mirror
from recoup.engine.log.entries import decode_entry
from recoup.engine.log.follow import Log
from recoup.engine.vault import Unlocked, open_vault
from recoup.errors import Integrity, KeyUnavailable
from tests.fakes.memory_store import MemoryStore
from tests.golden.make import picture
from tests.golden.repository import PLACES, format_1

OTHER = {"home": "copy", "copy": "home"}


class Places:
    """Both locations as directories; the command line beside them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.golden, self.folder, self.capsys = format_1(), folder, capsys
        self.golden.write(folder)

    def url(self, place: str) -> str:
        return f"file://{self.folder}/{place}"

    def run(self, command: str, place: str, *arguments: str, key: str = "secret.key", code: int = 0) -> str:
        self.capsys.readouterr()
        where = ["--location", self.url(place)] + (["--key-file", str(self.folder / key)] if key else [])
        done = run([*command.split(), *where, *arguments])
        out = self.capsys.readouterr()
        assert done == code, f"{command} {arguments} at {place}: {done}\n{out.out[-2000:]}{out.err[-2000:]}"
        return out.out

    def json(self, command: str, place: str, *arguments: str, key: str = "secret.key") -> Any:
        return json.loads(self.run(command, place, *arguments, "-o", "json", key=key))

    def stored(self, place: str) -> int:
        """Bytes of packs."""
        return sum(path.stat().st_size for path in (self.folder / place).glob("v/*/d/*/*"))

    def folders(self, place: str) -> dict[str, dict[str, Any]]:
        return {point: content for point, content in self.golden.points(place).items() if "book.txt" in content}


@pytest.fixture
def places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Places:
    return Places(tmp_path, capsys)


def opened(place: str) -> Unlocked:
    golden, store = format_1(), MemoryStore()
    store.objects = dict(golden.objects[place])
    vault, root = decode_fingerprint(golden.keys["fingerprint"])
    log = Log(store, vault, root_public=root)
    log.follow()
    return open_vault(log, [kek_from_text(golden.keys["secret"])], pinned=True)


@pytest.mark.parametrize("place", PLACES)
def test_every_point_is_restored(places: Places, place: str) -> None:
    for number, (point, wanted) in enumerate(places.golden.points(place).items()):
        target = places.folder / f"restored-{number}"
        if "." in wanted:
            target.touch()
        places.run("restore", place, "--snapshot", point, "--target", str(target))
        if "dump.sql" in wanted:
            assert hashlib.sha256((target / "dump.sql").read_bytes()).hexdigest() == wanted["dump.sql"]["sha256"]
        else:
            assert picture(target) == wanted


@pytest.mark.parametrize("place", PLACES)
def test_verification_finds_nothing(places: Places, place: str) -> None:
    for level in range(5):
        places.run("verify", place, "--level", str(level), "--no-record")


@pytest.mark.parametrize("place", PLACES)
def test_what_looks_into_points(places: Places, place: str) -> None:
    points = places.golden.points(place)
    assert {row["id"] for row in places.json("snapshots", place)} == set(points)
    for point, content in points.items():
        if "." not in content:
            listed = places.run("ls", place, point, "--short")
            assert len(listed.splitlines()) == len(content)
    folders = places.folders(place)
    newest, oldest = max(folders, key=lambda point: len(folders[point])), min(folders, key=lambda point: len(folders[point]))
    letter = places.run("cat", place, newest, "mail-1/deep/er/letter-001")
    assert hashlib.sha256(letter.encode()).hexdigest() == folders[newest]["mail-1/deep/er/letter-001"]["sha256"]
    found = [json.loads(line) for line in places.run("find", place, "photo-1", "-o", "json").splitlines()]
    assert sorted(point for row in found for point in row["points"]) == sorted(folders)
    changes = [json.loads(line) for line in places.run("diff", place, oldest, newest, "-o", "json", code=4).splitlines()]
    assert {row["path"] for row in changes if row["change"] == "added"} == set(folders[newest]) - set(folders[oldest])
    assert len(places.run("stats", place).splitlines()) > len(points)


@pytest.mark.parametrize("place", PLACES)
def test_what_only_plans(places: Places, place: str) -> None:
    folders = places.folders(place)
    target = places.folder / "planned"
    places.run("restore", place, "--snapshot", next(iter(folders)), "--target", str(target), "--plan")
    assert not target.exists()
    assert "keep" in places.run("forget", place, "--last", "1", "--explain", "--dry-run").lower()
    pruned = places.json("prune", place, "--dry-run", "--grace", "0h")
    assert pruned
    if place == "home":
        places.run("repack", place, "--dry-run")
    places.run("doctor", place, key="")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--key-file", "secret.key"), ("--key-file", "recovery.key"), ("--key-file", "hybrid.key"), ("--passphrase-file", "phrase")],
)
def test_every_kind_of_key_opens_it(places: Places, option: str, value: str) -> None:
    keys = [option, str(places.folder / value), "--fingerprint", places.golden.keys["fingerprint"]]
    listed = json.loads(places.run("keys list", "copy", *keys, "-o", "json", key=""))
    assert listed["generation"] == 3
    assert {key["kind"] for key in listed["keys"]} == {"secret", "recipient", "hybrid", "passphrase"} or len(listed["keys"]) == 4
    assert len(json.loads(places.run("snapshots", "copy", *keys, "-o", "json", key=""))) == len(places.golden.points("copy"))


@pytest.mark.parametrize("place", PLACES)
def test_each_place_brings_the_other_back(places: Places, place: str) -> None:
    """A third copy is made of either, and what one of them loses comes from the other."""
    assert run(["replicate", "--from", places.url(place), "--to", places.url("third")]) == 0
    places.run("verify", "third", "--level", "4", "--no-record")
    shared = places.golden.objects["home"].keys() & places.golden.objects["copy"].keys()
    gone = [name for name in sorted(shared) if "/d/" in name or "/m/" in name]
    for name in gone:
        (places.folder / place / name).unlink()
    places.run("heal", place, "--from", places.url(OTHER[place]), key="")
    places.run("verify", place, "--level", "4", "--no-record")


def test_the_next_backup_builds_on_it(places: Places) -> None:
    """What is there is neither stored nor sent again."""
    newest = max(places.folders("home").items(), key=lambda item: len(item[1]))[0]
    target = places.folder / "restored"
    places.run("restore", "home", "--snapshot", newest, "--target", str(target))
    before = places.stored("home")
    made = places.json("backup", "home", "--source", str(target))
    assert places.stored("home") < before * 1.25, "most of it is there already"
    places.run("restore", "home", "--snapshot", made["id"], "--target", str(places.folder / "again"))
    assert picture(places.folder / "again") == picture(target)


def test_everything_that_the_format_has_is_in_them() -> None:
    """Otherwise the tests above would say less than they seem to."""
    types: Counter[int] = Counter()
    kinds: set[int] = set()
    blocks: set[int] = set()
    incarnations, tables, inner = 0, set(), set()
    for place in PLACES:
        vault = opened(place)
        assert vault.log.state.invalid == 0
        for name, data in vault.log.store.objects.items():  # type: ignore[attr-defined]  # a MemoryStore
            if "/log/" in name:
                entry = decode_entry(data, name)
                types[entry.head.type] += 1
                incarnations += isinstance(entry.body, Mirror) and bool(entry.body.incarnations)
                continue
            try:
                parsed = parse_object_name(name)
            except Integrity:
                continue
            for kind in Kind:
                try:
                    opening = vault.reader.opening(kind) if kind is not Kind.CACHE else vault.writer.opening(kind)
                    reader = ObjectReader(data, opening, name)
                    rows = [(row.kind, bytes(reader.read(number))) for number, row in enumerate(reader.table[:-1])]
                except (Integrity, KeyUnavailable):
                    continue
                kinds.add(kind)
                for block, plain in rows:
                    blocks.add(block)
                    if block in {BlockKind.TREE, BlockKind.CONTENT, BlockKind.DEVICE_MAP, BlockKind.REFS} and plain[0]:
                        inner.add((block, plain[1]))
            tables.add(parsed.incarnation)
    assert set(types) == set(EntryType)
    assert kinds == set(Kind)
    assert blocks == set(BlockKind) - {BlockKind.PADDING}
    assert {block for block, level in inner if level == 1} == {BlockKind.TREE, BlockKind.CONTENT, BlockKind.DEVICE_MAP, BlockKind.REFS}
    assert max(level for _, level in inner) > 1
    assert tables == {0, 1}
    assert incarnations
