"""Parts of a recovery point: globs, subdirectories, moved paths. What is not chosen is neither made nor fetched nor looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoup.engine.records.tree import FileType
from recoup.errors import Invalid, RecoupError
from tests.unit.engine.restore.forge import NOW, Forger, Item, Tree, directory, file, snapshot_of, symlink
from tests.unit.engine.restore.runs import bring, orders

TREE: Tree = [
    ((), [file(b"a.conf", b"alpha"), directory(b"etc", mode=0o750), directory(b"home", mtime=5), file(b"notes", b"n")]),
    ((b"etc",), [file(b"b.conf", b"beta"), directory(b"empty"), file(b"passwd", b"root"), directory(b"ssl", mode=0o711)]),
    ((b"etc", b"ssl"), [file(b"c.conf", b"gamma"), file(b"key", b"secret", mode=0o400)]),
    ((b"home",), [directory(b"anna"), directory(b"bert")]),
    ((b"home", b"anna"), [file(b"letter", b"dear"), symlink(b"link", b"letter"), Item(b"pipe", FileType.FIFO)]),
    ((b"home", b"bert"), [file(b"letter", b"hello")]),
]


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Forger:
    return Forger.make(tmp_path_factory.mktemp("vault") / "location")


@pytest.fixture(scope="module")
def point(forger: Forger) -> str:
    return forger.tree(TREE)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


CHOICES: dict[str, tuple[dict[str, list[str]], set[str]]] = {
    "a name anywhere": ({"include": ["*.conf"]}, {"a.conf", "etc", "etc/b.conf", "etc/ssl", "etc/ssl/c.conf"}),
    "a directory with all in it": (
        {"include": ["home/anna"]},
        {"home", "home/anna", "home/anna/letter", "home/anna/link", "home/anna/pipe"},
    ),
    "an anchored glob": ({"include": ["home/*/letter"]}, {"home", "home/anna", "home/anna/letter", "home/bert", "home/bert/letter"}),
    "two includes": ({"include": ["notes", "etc/ssl/key"]}, {"notes", "etc", "etc/ssl", "etc/ssl/key"}),
    "a leading slash": ({"include": ["/etc/passwd"]}, {"etc", "etc/passwd"}),
    "an empty directory": ({"include": ["etc/empty"]}, {"etc", "etc/empty"}),
    "across directories": ({"include": ["etc/**/*.conf"]}, {"etc", "etc/b.conf", "etc/ssl", "etc/ssl/c.conf"}),
    "exclude alone": ({"exclude": ["home", "ssl", "*.conf"]}, {"etc", "etc/empty", "etc/passwd", "notes"}),
    "exclude beats include": ({"include": ["etc"], "exclude": ["ssl", "b.*"]}, {"etc", "etc/empty", "etc/passwd"}),
}


@pytest.mark.parametrize("what", CHOICES)
def test_globs_choose(forger: Forger, point: str, tmp_path: Path, what: str) -> None:
    choice, expected = CHOICES[what]
    outcome = bring(forger, point, tmp_path / "out", orders(**choice))  # type: ignore[arg-type]
    assert names(tmp_path / "out") == expected
    assert outcome.not_preserved.total == 0
    again = bring(forger, point, tmp_path / "out", orders(**choice))  # type: ignore[arg-type]
    assert again.already_there


def test_directories_on_the_way_get_their_attributes_if_the_restore_made_them(forger: Forger, point: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bring(forger, point, out, orders(include=["etc/ssl/key", "home/anna/letter"]))
    assert [(out / name).stat().st_mode & 0o7777 for name in ("etc", "etc/ssl")] == [0o750, 0o711]
    assert (out / "home").stat().st_mtime_ns == 5
    assert (out / "etc").stat().st_mtime_ns == NOW
    (tmp_path / "two/etc").mkdir(parents=True, mode=0o777)
    (tmp_path / "two/etc").chmod(0o777)
    bring(forger, point, tmp_path / "two", orders("merge", include=["etc/ssl/key"]))
    assert (tmp_path / "two/etc").stat().st_mode & 0o7777 == 0o777, "it was there before and was not asked for"
    assert (tmp_path / "two/etc/ssl").stat().st_mode & 0o7777 == 0o711


def test_into_a_subdirectory(forger: Forger, point: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x")
    bring(forger, point, out, orders(into="deep/er", include=["notes"]))
    assert names(out) == {"mine", "deep", "deep/er", "deep/er/notes"}
    (out / "link").symlink_to(tmp_path)
    for bad in ("link/x", "mine"):
        with pytest.raises(Invalid) as caught:
            bring(forger, point, out, orders(into=bad))
        assert caught.value.reason == "TargetNotDirectory"
    with pytest.raises(Invalid):
        bring(forger, point, out, orders(into="../outside"))
    assert not (tmp_path / "x").exists()


MAPS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "a file": ({"maps": [("notes", "memo")], "include": ["notes"]}, {"memo": "n"}),
    "a directory": ({"maps": [("home/anna", "anna")], "include": ["home/anna/letter"]}, {"anna/letter": "dear"}),
    "into new directories": ({"maps": [("etc/ssl", "x/y/z")], "include": ["etc/ssl"]}, {"x/y/z/c.conf": "gamma", "x/y/z/key": "secret"}),
    "swapped": (
        {"maps": [("home/anna", "home/bert"), ("home/bert", "home/anna")], "include": ["letter"]},
        {"home/anna/letter": "hello", "home/bert/letter": "dear"},
    ),
    "a part of what is moved": (
        {"maps": [("etc", "old"), ("etc/ssl", "ssl")], "include": ["*.conf"]},
        {"a.conf": "alpha", "old/b.conf": "beta", "ssl/c.conf": "gamma"},
    ),
    "one directory as the root": ({"maps": [("etc/ssl", ".")]}, {"c.conf": "gamma", "key": "secret"}),
}


@pytest.mark.parametrize("what", MAPS)
def test_moved_paths(forger: Forger, point: str, tmp_path: Path, what: str) -> None:
    choice, expected = MAPS[what]
    out = tmp_path / "out"
    bring(forger, point, out, orders(**choice))  # type: ignore[arg-type]
    assert {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()} == expected
    assert bring(forger, point, out, orders(**choice)).already_there  # type: ignore[arg-type]


def test_everything_comes_though_a_part_is_moved(forger: Forger, point: str, tmp_path: Path) -> None:
    bring(forger, point, tmp_path / "one")
    bring(forger, point, tmp_path / "two", orders(maps=[("home/anna", "people/anna")]))
    moved = {name.replace("home/anna", "people/anna"): facts for name, facts in snapshot_of(tmp_path / "one").items()}
    found = snapshot_of(tmp_path / "two")
    assert found.pop("people")
    assert found == moved


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        ([("home/anna", "home/bert")], "InvalidMap"),
        ([("home/anna", "notes/anna")], "InvalidMap"),
        ([("home/carl", "x")], "PathNotFound"),
        ([("home/anna", "../x")], "InvalidPath"),
        ([("home/anna", "x"), ("home/anna", "y")], "InvalidMap"),
        ([("home/anna", "x"), ("home/bert", "x/y")], "InvalidMap"),
        ([("home/anna", "."), ("home/bert", "y")], "InvalidMap"),
    ],
)
def test_moves_that_cannot_be_meant(forger: Forger, point: str, tmp_path: Path, maps: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(RecoupError) as caught:
        bring(forger, point, tmp_path / "out", orders(maps=maps))
    assert caught.value.reason == reason
    assert not (tmp_path / "out").exists(), "nothing was made"


def test_a_choice_of_nothing_is_said_before_anything_is_made(forger: Forger, point: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        bring(forger, point, tmp_path / "out", orders(exclude=["*"]))
    assert caught.value.reason == "NothingChosen"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"include": ["nothing-like-it"]}, ["'nothing-like-it'"]),
        ({"include": ["etc"], "exclude": ["etc"]}, ["'etc'"]),
        ({"include": ["notes", "etc/*.cnf", "home", "hoem/anna"]}, ["'etc/*.cnf'", "'hoem/anna'"]),
        ({"include": ["etc", "etc/ssl/kye"]}, ["'etc/ssl/kye'"]),
        ({"include": ["letter", "home/anna/lettre"], "maps": [("home/anna", "old")]}, ["'home/anna/lettre'"]),
    ],
)
def test_a_pattern_that_matches_nothing_is_named_before_anything_is_made(
    forger: Forger, point: str, tmp_path: Path, choice: dict[str, list[str]], named: list[str]
) -> None:
    with pytest.raises(Invalid) as caught:
        bring(forger, point, tmp_path / "out", orders(**choice))  # type: ignore[arg-type]  # as a table gives it
    assert caught.value.reason == "PatternMatchesNothing"
    assert [word for word in str(caught.value).split() if word.startswith("'")] == [*(f"{name}," for name in named[:-1]), f"{named[-1]};"]
    assert not (tmp_path / "out").exists()


def test_a_pattern_within_another_ones_directory_and_a_moved_one_match(forger: Forger, point: str, tmp_path: Path) -> None:
    bring(forger, point, tmp_path / "out", orders(include=["home/anna", "home/anna/letter", "etc/passwd"], maps=[("home/anna", "old")]))
    assert (tmp_path / "out/old/letter").read_bytes() == b"dear"


def test_hard_links_of_a_part(forger: Forger, tmp_path: Path) -> None:
    """The first chosen name gets the content, whichever name had it in the recovery point."""
    linked = {"group": 7}
    tree: Tree = [
        ((), [directory(b"d"), file(b"first", b"shared", **linked)]),
        ((b"d",), [file(b"second", b"shared", **linked), file(b"third", b"shared", **linked)]),
    ]
    bring(forger, forger.tree(tree), tmp_path / "out", orders(include=["d"]))
    assert (tmp_path / "out/d/second").stat().st_ino == (tmp_path / "out/d/third").stat().st_ino
    assert (tmp_path / "out/d/third").read_bytes() == b"shared"


def test_another_choice_is_another_restore(forger: Forger, point: str, tmp_path: Path) -> None:
    bring(forger, point, tmp_path / "out", orders(include=["notes"]))
    with pytest.raises(Invalid) as caught:
        bring(forger, point, tmp_path / "out", orders(include=["etc"]))
    assert caught.value.reason == "TargetNotEmpty"
