"""Honest recovery points come back whole: content, holes, links, modes, times; interrupted and repeated restores end the same."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from recoup.engine.records.tree import Entry, FileType, Xattr
from recoup.engine.restore.attributes import Wishes
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.restore.settle import SettlePass
from recoup.errors import Integrity, Invalid
from recoup.report import Progress
from tests.unit.engine.restore.forge import NOW, Forger, Item, Tree, directory, file, snapshot_of, symlink


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger.make(tmp_path / "location")


def bring_back(forger: Forger, point: str, target: Path, wishes: Wishes | None = None) -> Outcome:
    outcome = Outcome()
    restore(forger.open(point), str(target), Orders(wishes or Wishes()), outcome, Progress(quiet=True))
    return outcome


PLAIN: Tree = [
    (
        (),
        [
            file(b"a", b"alpha"),
            directory(b"d", mode=0o2750),
            file(b"empty"),
            file(b"z", b"zulu" * 1000, mode=0o4711),
            symlink(b"zz", b"d/b"),
        ],
    ),
    ((b"d",), [file(b"b", b"beta", mtime=1), directory(b"deep"), directory(b"none")]),
    ((b"d", b"deep"), [file(b"c", b"gamma" * 30_000, mode=0), Item(b"pipe", FileType.FIFO, mode=0o622)]),
]


def test_a_tree_comes_back(forger: Forger, tmp_path: Path) -> None:
    target = tmp_path / "out"
    outcome = bring_back(forger, forger.tree(PLAIN), target)
    assert (target / "a").read_bytes() == b"alpha"
    assert (target / "d/deep/c").read_bytes() == b"gamma" * 30_000
    assert (target / "zz").readlink() == Path("d/b")
    modes = {name: (target / name).lstat().st_mode & 0o7777 for name in ("d", "z", "d/deep/c", "d/deep/pipe")}
    assert modes == {"d": 0o2750, "z": 0o4711, "d/deep/c": 0, "d/deep/pipe": 0o622}
    for path in (target, *target.rglob("*")):
        assert path.lstat().st_mtime_ns == (1 if path.name == "b" else NOW), path
    assert list((target / "d/none").iterdir()) == []
    assert (outcome.files, outcome.directories, outcome.not_preserved.total) == (7, 3, 0)
    assert outcome.bytes_written == outcome.bytes_compared == 5 + 4000 + 4 + 150_000


def test_restoring_again_finds_nothing_to_do(forger: Forger, tmp_path: Path) -> None:
    point = forger.tree(PLAIN)
    bring_back(forger, point, tmp_path / "out")
    before = snapshot_of(tmp_path / "out")
    outcome = bring_back(forger, point, tmp_path / "out")
    assert outcome.already_there
    assert outcome.bytes_written == 0
    assert snapshot_of(tmp_path / "out") == before


@pytest.mark.parametrize("what", ["extra file", "other content", "missing", "extra in empty directory"])
def test_a_directory_with_other_data_is_refused_and_not_touched(forger: Forger, tmp_path: Path, what: str) -> None:
    point, target = forger.tree(PLAIN), tmp_path / "out"
    bring_back(forger, point, target)
    changes: dict[str, Callable[[], object]] = {
        "extra file": lambda: (target / "mine").write_text("precious"),
        "other content": lambda: (target / "a").write_text("alphA"),
        "missing": (target / "d/b").unlink,
        "extra in empty directory": lambda: (target / "d/none/mine").write_text("precious"),
    }
    changes[what]()
    before = snapshot_of(target)
    with pytest.raises(Invalid) as caught:
        bring_back(forger, point, target)
    assert caught.value.reason == "TargetNotEmpty"
    assert snapshot_of(target) == before


def test_an_empty_file_system_with_lost_and_found_is_empty(forger: Forger, tmp_path: Path) -> None:
    (tmp_path / "out/lost+found").mkdir(parents=True)
    bring_back(forger, forger.tree(PLAIN), tmp_path / "out")
    assert (tmp_path / "out/a").read_bytes() == b"alpha"
    with_own = forger.tree([((), [file(b"a", b"x"), directory(b"lost+found", mode=0o700)])])
    (tmp_path / "two/lost+found").mkdir(parents=True)
    bring_back(forger, with_own, tmp_path / "two")


def test_holes_stay_holes(forger: Forger, tmp_path: Path) -> None:
    pieces = ((65_536, b"one" * 1000), (5 << 30, b"two" * 1000))
    point = forger.tree(
        [((), [Item(b"all", size=1 << 30), Item(b"sparse", pieces=pieces, size=10 << 30), Item(b"x", pieces=pieces, as_list=True)])]
    )
    bring_back(forger, point, tmp_path / "out")
    sparse = tmp_path / "out/sparse"
    assert sparse.stat().st_size == 10 << 30
    for name in ("sparse", "x", "all"):
        assert (tmp_path / "out" / name).stat().st_blocks * 512 < 1 << 20
    with sparse.open("rb") as stream:
        stream.seek(5 << 30)
        assert stream.read(3000) == b"two" * 1000
        stream.seek(65_536)
        assert stream.read(3003) == b"one" * 1000 + bytes(3)


def test_hard_links_across_directories(forger: Forger, tmp_path: Path) -> None:
    linked = {"group": 7, "mode": 0o640}
    point = forger.tree(
        [
            ((), [directory(b"d"), file(b"first", b"shared", **linked), symlink(b"s1", b"x", group=9)]),
            ((b"d",), [symlink(b"s2", b"x", group=9), file(b"second", b"shared", **linked), file(b"third", b"shared", **linked)]),
        ]
    )
    bring_back(forger, point, tmp_path / "out")
    inodes = {(tmp_path / "out" / name).stat().st_ino for name in ("first", "d/second", "d/third")}
    assert len(inodes) == 1
    assert (tmp_path / "out/s1").lstat().st_ino == (tmp_path / "out/d/s2").lstat().st_ino
    assert bring_back(forger, point, tmp_path / "out").already_there


def test_names_that_are_not_utf8_of_255_bytes_and_a_thousand_levels_down(forger: Forger, tmp_path: Path) -> None:
    name = bytes(range(1, 47)) + bytes(range(48, 256)) + b"x"
    assert len(name) == 255
    levels = [b"level%03d" % number for number in range(1000)]
    listings = [(tuple(levels[:depth]), [directory(levels[depth])]) for depth in range(1000)]
    listings.append((tuple(levels), [file(name, b"deep down")]))
    point = forger.tree(listings)
    bring_back(forger, point, tmp_path / "out")
    fd = os.open(tmp_path / "out", os.O_RDONLY)
    for level in levels:
        following = os.open(level, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = following
    leaf = os.open(name, os.O_RDONLY, dir_fd=fd)
    assert os.read(leaf, 100) == b"deep down"
    os.close(leaf)
    os.close(fd)
    assert bring_back(forger, point, tmp_path / "out").already_there
    subprocess.run(["rm", "-rf", tmp_path / "out"], check=True)  # too deep for the clean-up of pytest


def test_extended_attributes(forger: Forger, tmp_path: Path) -> None:
    point = forger.tree(
        [
            (
                (),
                [
                    file(b"a", b"x", xattrs=(Xattr(b"user.color", b"blue\0green"),), mode=0o400),
                    directory(b"d", xattrs=(Xattr(b"user.k", b"v"),)),
                ],
            )
        ]
    )
    outcome = bring_back(forger, point, tmp_path / "out")
    assert os.getxattr(tmp_path / "out/a", "user.color") == b"blue\0green"
    assert os.getxattr(tmp_path / "out/d", "user.k") == b"v"
    assert outcome.not_preserved.total == 0


def test_what_is_not_brought_back_is_said(forger: Forger, tmp_path: Path) -> None:
    point = forger.tree(
        [
            (
                (),
                [
                    Item(b"null", FileType.CHARACTER, device=(1, 3)),
                    Item(b"sock", FileType.SOCKET),
                    directory(b"t", xattrs=(Xattr(b"trusted.x", b"1"),)),
                ],
            )
        ]
    )
    outcome = bring_back(forger, point, tmp_path / "out")
    assert [path for path, _ in outcome.not_restored.listed] == ["null", "sock"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["t"]
    assert "trusted.x" not in os.listxattr(tmp_path / "out/t")


@pytest.mark.skipif(os.geteuid() != 0, reason="making devices and trusted attributes needs root")
def test_devices_and_trusted_attributes_if_asked_for(forger: Forger, tmp_path: Path) -> None:
    trusted = (Xattr(b"trusted.x", b"1"),)
    point = forger.tree([((), [Item(b"null", FileType.CHARACTER, device=(1, 3), mode=0o666), directory(b"t", xattrs=trusted)])])
    outcome = bring_back(forger, point, tmp_path / "out", Wishes(devices=True, trusted=True))
    assert (tmp_path / "out/null").stat().st_rdev == os.makedev(1, 3)
    assert os.getxattr(tmp_path / "out/t", "trusted.x") == b"1"
    assert outcome.not_restored.total == outcome.not_preserved.total == 0


@pytest.mark.parametrize("how", ["gone", "flipped", "cut"])
def test_a_damaged_pack_is_named_with_its_paths_and_the_rest_comes_back(forger: Forger, tmp_path: Path, how: str) -> None:
    forger.group = 1
    point = forger.tree([((), [file(b"a", b"alpha"), directory(b"d")]), ((b"d",), [file(b"bad", b"beta" * 500_000), file(b"c", b"gamma")])])
    bad = forger.packs[1]
    path = tmp_path / "location" / bad
    data = bytearray(path.read_bytes())
    path.unlink()
    if how == "flipped":
        data[5000] ^= 1
    if how != "gone":
        path.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    target, outcome = tmp_path / "out", Outcome()
    with pytest.raises(Integrity) as caught:
        restore(forger.open(point), str(target), Orders(), outcome, Progress(quiet=True))
    assert "d/bad" in str(caught.value)
    assert bad in str(caught.value)
    assert [name for name, _ in outcome.damaged.listed] == ["d/bad"]
    assert (target / "a").read_bytes() == b"alpha"
    assert (target / "d/c").read_bytes() == b"gamma"
    assert not (target / "d/bad").exists()
    assert [p.name for p in target.iterdir() if p.name.startswith(".recoup-incomplete-")]


def test_a_damaged_list_of_runs_costs_its_file_only(forger: Forger, tmp_path: Path) -> None:
    point = forger.tree([((), [file(b"a", b"alpha"), file(b"long", b"x" * 100_000, as_list=True), file(b"z", b"zulu")])])
    lost: list[list[str]] = []
    for number, (name, _) in enumerate(list(forger.store.list(f"v/{forger.unlocked.identity.vault_id.hex()}/x/"))):
        path, target = tmp_path / "location" / name, tmp_path / f"out-{number}"
        path.rename(tmp_path / "hidden")
        outcome = Outcome()
        try:
            restore(forger.open(point), str(target), Orders(), outcome, Progress(quiet=True))
        except Integrity:
            lost.append([path for path, _ in outcome.damaged.listed])
            if outcome.damaged.total:
                assert (target / "a").read_bytes() == b"alpha"
                assert sorted(entry.name for entry in target.iterdir() if not entry.name.startswith(".")) == ["a", "z"]
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "hidden").rename(path)
    assert lost.count(["long"]) == 1


def test_a_damaged_attribute_is_damage_not_a_remark(forger: Forger, tmp_path: Path) -> None:
    long = b"v" * 6000
    forger.values = [long]
    xattrs = (Xattr(b"user.short", b"s"), Xattr(b"user.long", b"", forger.value_id(long)))
    tree: Tree = [((), [file(b"a", b"alpha", xattrs=xattrs), directory(b"d", xattrs=xattrs), file(b"z", b"zulu")])]
    point = forger.tree(tree)
    holder = tmp_path / "location" / forger.packs[0]
    holder.rename(tmp_path / "hidden")
    outcome = Outcome()
    with pytest.raises(Integrity) as caught:
        restore(forger.open(point), str(tmp_path / "out"), Orders(), outcome, Progress(quiet=True))
    assert caught.value.reason == "ObjectDamaged"
    assert sorted(path for path, _ in outcome.damaged.listed) == ["a", "d"]
    assert (tmp_path / "out/z").read_bytes() == b"zulu"
    holder.parent.mkdir(exist_ok=True)
    (tmp_path / "hidden").rename(holder)


def test_long_attributes_come_back_where_the_file_system_can_hold_them(forger: Forger, tmp_path: Path) -> None:
    long = b"v" * 3000
    forger.values = [long]
    point = forger.tree([((), [file(b"a", b"alpha", xattrs=(Xattr(b"user.long", b"", forger.value_id(long)),))])])
    assert bring_back(forger, point, tmp_path / "out").not_preserved.total == 0
    assert os.getxattr(tmp_path / "out/a", "user.long") == long


def test_after_the_object_is_healed_the_same_restore_is_finished(forger: Forger, tmp_path: Path) -> None:
    point, target = forger.tree(PLAIN), tmp_path / "out"
    hidden = tmp_path / "hidden"
    (tmp_path / "location" / forger.packs[0]).rename(hidden)
    with pytest.raises(Integrity):
        bring_back(forger, point, target)
    (target / ".recoup-partial-").with_name(f".recoup-partial-{point[:16]}-ff").write_text("left by a kill")
    hidden.rename(tmp_path / "location" / forger.packs[0])
    outcome = bring_back(forger, point, target)
    assert not outcome.already_there
    assert (target / "a").read_bytes() == b"alpha"
    assert not [p for p in target.rglob("*") if p.name.startswith(".recoup")]
    assert bring_back(forger, point, target).already_there


def test_a_target_that_is_too_small_is_told_before_anything_is_written(
    forger: Forger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recoup.engine.restore.target.Target.free", lambda _: 100_000)
    with pytest.raises(Invalid) as caught:
        bring_back(forger, forger.tree(PLAIN), tmp_path / "out")
    assert caught.value.reason == "TargetTooSmall"
    assert list((tmp_path / "out").iterdir()) == []
    sparse = forger.tree([((), [Item(b"s", size=1 << 40, pieces=((0, b"x"),))])])
    bring_back(forger, sparse, tmp_path / "sparse")


def test_what_is_changed_behind_our_back_is_not_called_success(forger: Forger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is real: a disk that loses a bit between writing and reading back fails the restore."""
    real = SettlePass.run

    def spoil(self: SettlePass, entries: Iterable[Entry], *rest: Any) -> None:
        with (tmp_path / "out/d/deep/c").open("r+b") as stream:
            stream.seek(70_000)
            stream.write(b"!")
        real(self, entries, *rest)

    monkeypatch.setattr(SettlePass, "run", spoil)
    with pytest.raises(Integrity) as caught:
        bring_back(forger, forger.tree(PLAIN), tmp_path / "out")
    assert caught.value.reason == "ReadBackDiffers"
    assert "d/deep/c" in str(caught.value)
