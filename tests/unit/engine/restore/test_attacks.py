"""Trees that only a malicious writer with valid keys would make: each ends in a clear error or a harmless restore, and never a byte lies
outside the target.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.manifest import Totals
from recoup.engine.records.tree import FileType, Xattr
from recoup.engine.restore.content import ContentPass
from recoup.engine.restore.late import LatePass
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.errors import Integrity, Invalid, RecoupError
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger, Item, Tree, directory, file, snapshot_of, symlink

OUTSIDE = b"../../outside"


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger.make(tmp_path / "location")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the target with something precious in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("untouched")
    return folder


def attack(forger: Forger, point: str, tmp_path: Path, outside: Path) -> tuple[Outcome, RecoupError | None]:
    """Restore, then assert that nothing outside the target has changed."""
    before = snapshot_of(outside)
    around = sorted(path.name for path in tmp_path.iterdir())
    outcome, error = Outcome(), None
    try:
        restore(forger.open(point), str(tmp_path / "nest/target"), Orders(), outcome, Progress(quiet=True))
    except RecoupError as raised:
        error = raised
    assert snapshot_of(outside) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == around
    assert [path.name for path in (tmp_path / "nest").iterdir()] in ([], ["target"])
    return outcome, error


@pytest.fixture(autouse=True)
def nest(tmp_path: Path) -> None:
    (tmp_path / "nest").mkdir()


REFUSED: dict[str, Tree] = {
    "dot dot": [((), [file(b"..", b"x")])],
    "dot": [((), [file(b".", b"x")])],
    "empty name": [((), [file(b"", b"x")])],
    "slash": [((), [file(b"a/b", b"x")])],
    "absolute": [((), [file(b"/etc/planted", b"x")])],
    "climbing": [((), [file(b"../outside/planted", b"x")])],
    "nul": [((), [file(b"a\0b", b"x")])],
    "256 bytes": [((), [file(b"x" * 256, b"x")])],
    "dot dot as a directory": [((), [directory(b"..")]), ((b"..",), [file(b"planted", b"x")])],
    "listing of dot dot": [((), [directory(b"d")]), ((b"..", b"outside"), [file(b"planted", b"x")])],
    "duplicate": [((), [file(b"a", b"x"), file(b"a", b"y")])],
    "duplicate of another type": [((), [symlink(b"a", OUTSIDE), directory(b"a")])],
    "link, then a child beneath it": [((), [symlink(b"a", OUTSIDE)]), ((b"a",), [file(b"planted", b"x")])],
    "file, then a child beneath it": [((), [file(b"a", b"x")]), ((b"a",), [file(b"planted", b"x")])],
    "unlisted directory": [((), [file(b"a", b"x")]), ((b"b",), [file(b"planted", b"x")])],
    "listed twice": [((), [directory(b"a"), directory(b"b")]), ((b"a",), [file(b"1")]), ((b"b",), [file(b"1")]), ((b"a",), [file(b"2")])],
    "out of order": [((), [file(b"b", b"x"), file(b"a", b"x")])],
    "link without a target": [((), [symlink(b"a", b"")])],
    "target with nul": [((), [symlink(b"a", b"x\0y")])],
    "unknown type": [((), [Item(b"a", 9)])],  # type: ignore[arg-type]
    "mode with type bits": [((), [file(b"a", b"x", mode=0o120777)])],
    "negative size": [((), [Item(b"a", size=-1)])],
    "negative owner": [((), [file(b"a", b"x", owner=(-1, 0))])],
    "attribute without a name": [((), [file(b"a", b"x", xattrs=(Xattr(b"", b"v"),))])],
    "run beyond the size": [((), [Item(b"a", size=5, pieces=((0, b"longer than five"),))])],
    "overlapping runs": [((), [Item(b"a", size=20, pieces=((0, b"0123456789"), (5, b"0123456789")))])],
    "run of another block": [((), [file(b"a", b"x", runs=((0, 1, 77, 0, bytes(32)),))])],
    "negative place": [((), [file(b"a", b"x", runs=((0, 1, 0, -1, bytes(32)),))])],
    "list of another kind": [((), [file(b"a", b"x" * 10, as_list=True, scheme=9)])],
}


@pytest.mark.parametrize("what", REFUSED)
def test_forged_trees_are_refused(forger: Forger, tmp_path: Path, outside: Path, what: str) -> None:
    point = forger.tree(REFUSED[what], totals=Totals(1000, 1000, 1 << 40))
    _, error = attack(forger, point, tmp_path, outside)
    assert isinstance(error, Integrity)
    assert error.exit_code == 30


HARMLESS: dict[str, Tree] = {
    "link out, absolute": [((), [symlink(b"a", b"/etc"), file(b"b", b"x")])],
    "link out, relative": [((), [symlink(b"a", OUTSIDE), file(b"b", b"x")])],
    "link to itself": [((), [symlink(b"a", b"a")])],
    "hard link to a link out": [((), [symlink(b"a", b"../outside/precious", group=3), symlink(b"b", b"../outside/precious", group=3)])],
    "names of ours": [((), [file(b".recoup-incomplete-0", b"x"), file(b".recoup-partial-1", b"y")])],
    "case-fold twins": [((), [file(b"A", b"upper"), file(b"a", b"lower")])],
    "control characters": [((), [file(b"\x1b[31m\n", b"x")])],
    "sockets only": [((), [Item(b"s", FileType.SOCKET)])],
}


@pytest.mark.parametrize("what", HARMLESS)
def test_strange_but_harmless_trees_come_back(forger: Forger, tmp_path: Path, outside: Path, what: str) -> None:
    outcome, error = attack(forger, forger.tree(HARMLESS[what]), tmp_path, outside)
    assert error is None
    assert outcome.damaged.total == 0


def test_a_hard_link_to_a_directory_or_a_changed_type_does_not_pass(forger: Forger, tmp_path: Path, outside: Path) -> None:
    swapped = forger.tree([((), [file(b"a", b"x", group=5), symlink(b"b", OUTSIDE, group=5)])])
    _, error = attack(forger, swapped, tmp_path, outside)
    assert isinstance(error, Integrity)
    assert error.reason == "ReadBackDiffers"


def test_times_and_owners_that_no_file_system_holds_are_noted(forger: Forger, tmp_path: Path, outside: Path) -> None:
    point = forger.tree(
        [((), [file(b"a", b"x", mtime=2**63 - 1), file(b"b", b"y", mtime=-(2**63)), file(b"c", b"z", owner=(2**32 - 1, 0))])]
    )
    outcome, error = attack(forger, point, tmp_path, outside)
    assert error is None
    assert {path for path, _ in outcome.not_preserved.listed} <= {"a", "b", "c"}
    assert "c" in {path for path, _ in outcome.not_preserved.listed}


def test_budgets_stop_a_tree_that_unfolds_to_more_than_was_signed(forger: Forger, tmp_path: Path, outside: Path) -> None:
    listings: Tree = [((), [file(b"%04d" % number, b"x" * 100) for number in range(200)])]
    for totals in (Totals(199, 0, 20_000), Totals(200, 0, 19_999)):
        _, error = attack(forger, forger.tree(listings, totals=totals), tmp_path, outside)
        assert isinstance(error, Integrity)
        assert error.reason == "TreeExceedsManifest"
        for path in (tmp_path / "nest/target").iterdir():
            path.unlink()
    _, error = attack(forger, forger.tree([((), [directory(b"d")])], totals=Totals(0, 0, 0)), tmp_path, outside)
    assert isinstance(error, Integrity)


def test_a_petabyte_of_hole_costs_nothing(forger: Forger, tmp_path: Path, outside: Path) -> None:
    """Either the file system holds such a size, then as a hole, or it says that it can't."""
    _, error = attack(forger, forger.tree([((), [Item(b"huge", size=1 << 50)])]), tmp_path, outside)
    if error is None:
        assert (tmp_path / "nest/target/huge").stat().st_blocks == 0
    else:
        assert error.reason == "TargetTooSmall"


def test_sizes_beyond_any_file_system(forger: Forger, tmp_path: Path, outside: Path) -> None:
    _, error = attack(forger, forger.tree([((), [Item(b"huge", size=(1 << 63) - 1)])]), tmp_path, outside)
    assert isinstance(error, (Invalid, Integrity))


def test_content_that_is_not_what_its_unit_id_says_is_noticed(forger: Forger, tmp_path: Path, outside: Path) -> None:
    """The block is genuine, but the tree cuts it wrongly: one file would get another's bytes."""
    block, unit = b"aaaabbbb", forger._id(BlockKind.DATA, b"aaaa")
    for at, reason in ((0, None), (4, "ReadBackDiffers")):
        forged = forger.tree([((), [file(b"a", block), file(b"b", b"bbbb", runs=((0, 4, 0, at, unit),))])])
        _, error = attack(forger, forged, tmp_path, outside)
        assert (error.reason if error else None) == reason
        (tmp_path / "nest/target").rename(tmp_path / f"kept-{at}")


def test_a_run_outside_its_block_is_refused(forger: Forger, tmp_path: Path, outside: Path) -> None:
    point = forger.tree([((), [file(b"a", b"aaaa"), file(b"b", b"bbbb", runs=((0, 4, 0, 2, bytes(32)),))])])
    outcome, error = attack(forger, point, tmp_path, outside)
    assert isinstance(error, Integrity)
    assert [path for path, _ in outcome.damaged.listed] == ["b"]


Plant = Callable[[Path, Path], None]


def _replace_directory_by_link(target: Path, outside: Path) -> None:
    (target / "d").rename(target / "moved")
    (target / "d").symlink_to(outside)


@pytest.mark.parametrize("step", ["before content", "before late"])
def test_a_directory_swapped_for_a_link_while_we_work_is_not_followed(
    forger: Forger, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Somebody else who may write to the target replaces a directory by a link at the worst moment."""
    monkeypatch.setattr("recoup.engine.restore.beneath.CAPACITY", 0)
    deep = [directory(b"%03d" % number) for number in range(200)]
    point = forger.tree(
        [((), [directory(b"a"), directory(b"d"), directory(b"w")]), ((b"d",), [file(b"f", b"x"), symlink(b"l", b"x")]), ((b"w",), deep)]
    )
    target = tmp_path / "nest/target"
    if step == "before content":
        real_directory = ContentPass._directory

        def swap(self: ContentPass, entry: object) -> None:
            real_directory(self, entry)  # type: ignore[arg-type]
            if getattr(entry, "name", b"") == b"w":
                _replace_directory_by_link(target, outside)

        monkeypatch.setattr(ContentPass, "_directory", swap)
    else:
        real_run = LatePass.run

        def swap_late(self: LatePass, entries: object) -> None:
            _replace_directory_by_link(target, outside)
            self._hands.directories.close()
            real_run(self, entries)  # type: ignore[arg-type]

        monkeypatch.setattr(LatePass, "run", swap_late)
    _, error = attack(forger, point, tmp_path, outside)
    assert isinstance(error, Invalid)
    assert error.reason == "TargetChanged"
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("kernel", ["with openat2", "without"])
def test_links_below_the_target_are_not_followed_by_either_way_of_opening(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    from recoup.engine.restore import beneath

    if kernel == "without":
        monkeypatch.setattr(beneath, "open_beneath", lambda *_: None)
    root = tmp_path / "root"
    (root / "real/deep").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    (root / "real/up").symlink_to("..")
    fd = os.open(root, os.O_RDONLY)
    directories = beneath.Directories(fd, capacity=2)
    try:
        inside: list[tuple[bytes, ...]] = [(b"real",), (b"real", b"deep"), (), (b"real",)]
        leading_out: list[tuple[bytes, ...]] = [(b"link",), (b"real", b"up"), (b"real", b"up", b"real")]
        if kernel == "with openat2":
            leading_out.append((b"..",))  # such names are refused before they come here; the kernel's check is a second line
        for path in inside:
            with directories.open(path) as found:
                assert os.fstat(found).st_ino == root.joinpath(*map(os.fsdecode, path)).stat().st_ino
        for path in leading_out:
            with pytest.raises(Invalid) as caught:
                directories.open(path)
            assert caught.value.reason == "TargetChanged"
    finally:
        directories.close()
        os.close(fd)
