"""Backups of directories: what comes back, what a second run reads and stores, what is said about files that cannot be taken."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recoup.engine.backup import contents, leaves, lineage
from recoup.engine.records.content import Scheme
from recoup.engine.records.tree import FileType
from recoup.engine.source import files as source_files
from recoup.engine.source.files import FileChanged
from recoup.errors import Invalid, NotFound
from tests.datasets.tree_of_every_kind import make_tree
from tests.unit.engine.backup.volume import Volume, fill, picture, settle


@pytest.fixture
def volume() -> Iterator[Volume]:
    """Not below tmp_path: pytest's own clean-up cannot remove trees of 1,000 levels."""
    directory = tempfile.mkdtemp(prefix="recoup-test-")
    yield Volume.make(Path(directory))
    subprocess.run(["rm", "-rf", directory], check=True)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as settled, so that a test need not wait two seconds after it wrote its files."""
    monkeypatch.setattr(lineage, "SETTLING", -3_600_000_000_000)


def test_every_kind_of_file_comes_back(volume: Volume) -> None:
    make_tree(str(volume.source), files=2_000, sparse_bytes=1 << 30)
    result = volume.back_up()
    assert not result.errors
    assert picture(volume.restore(result.id)) == picture(volume.source)


def test_sockets_and_devices_are_noted(volume: Volume) -> None:
    make_tree(str(volume.source), files=50, sparse_bytes=8 << 20, extras=True)
    entries = volume.entries(volume.back_up().id)
    assert entries[b"special/socket"].type is FileType.SOCKET
    assert (entries[b"special/null"].type, entries[b"special/null"].device) == (FileType.CHARACTER, (1, 3))
    assert (entries[b"special/disk"].type, entries[b"special/disk"].device) == (FileType.BLOCK, (7, 200))
    assert any(xattr.name == b"trusted.link" for xattr in entries[b"attributes/link"].xattrs)


def test_an_empty_directory(volume: Volume) -> None:
    first, second = volume.back_up(), volume.back_up()
    for result in (first, second):
        assert result.files == 0
        assert picture(volume.restore(result.id)) == picture(volume.source)


def test_one_file(volume: Volume, tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"just one" * 100_000)
    for _ in range(2):
        result = volume.back_up(source=path)
        (entry,) = volume.entries(result.id).values()
        assert (entry.name, entry.size, result.files) == (b"one", 800_000, 1)


def test_names_longer_than_any_path(volume: Volume) -> None:
    """1,000 levels of 255 bytes: no system call takes such a path."""
    fd = os.open(volume.source, os.O_RDONLY)
    for level in range(1000):
        name = (b"%d-" % level).ljust(255, b"d")
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open(b"bottom", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    result = volume.back_up()
    assert not result.errors
    deepest = max(volume.entries(result.id), key=len)
    assert deepest.count(b"/") == 1000
    assert deepest.endswith(b"/bottom")
    assert volume.stored() < 2 << 20


@pytest.mark.usefixtures("settled")
def test_an_unchanged_tree_is_neither_read_nor_stored(volume: Volume) -> None:
    fill(volume.source)
    first = volume.back_up()
    before = volume.stored(area="d"), volume.stored(area="m")
    second = volume.back_up()
    assert second.bytes_read <= 4 << 20, "no more than a sample"
    assert (volume.stored(area="d"), volume.stored(area="m") - before[1] < 4096) == (before[0], True), "a manifest and nothing else"
    assert second.bytes_stored < 8 << 10
    assert second.files == first.files
    assert picture(volume.restore(second.id)) == picture(volume.source)


def change_one(root: Path) -> None:
    (root / "d1/e1/f0001").write_bytes(b"changed")


def grow_one(root: Path) -> None:
    with (root / "large").open("ab") as file:
        file.write(b"more" * 1000)


def page_in_place(root: Path) -> None:
    with (root / "pages.db").open("r+b") as file:
        file.seek(300_000)
        file.write(b"page" * 2000)


def delete_folder(root: Path) -> None:
    for path in sorted((root / "d2").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def rename_folder(root: Path) -> None:
    (root / "d3").rename(root / "a-renamed")


def add_folder(root: Path) -> None:
    (root / "aa").mkdir()
    fill(root / "aa", files=400, seed=2)


def only_modes(root: Path) -> None:
    for path in (root / "d0").rglob("f*"):
        path.chmod(0o600)


def to_link(root: Path) -> None:
    (root / "large").unlink()
    (root / "large").symlink_to("pages.db")


CHANGES = [change_one, grow_one, page_in_place, delete_folder, rename_folder, add_folder, only_modes, to_link]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_tree_comes_back_as_it_is_and_as_it_was(volume: Volume, change: Callable[[Path], None]) -> None:
    fill(volume.source, files=700)
    before = picture(volume.source)
    first = volume.back_up()
    change(volume.source)
    second = volume.back_up()
    third = volume.back_up()
    after = picture(volume.source)
    assert after != before
    assert picture(volume.restore(first.id)) == before
    assert picture(volume.restore(second.id)) == after
    assert third.bytes_stored < 8 << 10


@pytest.mark.usefixtures("settled")
def test_what_a_change_costs(volume: Volume) -> None:
    fill(volume.source, files=1500)
    volume.back_up()
    costs = {}
    for change in (change_one, page_in_place, rename_folder, only_modes, grow_one):
        change(volume.source)
        costs[change.__name__] = volume.back_up().bytes_stored
    assert costs["change_one"] < 100 << 10
    assert costs["page_in_place"] < 250 << 10
    assert costs["only_modes"] < 150 << 10
    assert costs["grow_one"] < 4500 << 10, "the last chunk is written again"
    assert costs["rename_folder"] < 1200 << 10, "at most its small files, where they were in groups with others"


@pytest.mark.usefixtures("settled")
def test_many_runs_leave_refs_and_sets_that_fit(volume: Volume) -> None:
    """After twenty changes the object set names exactly what the refs name, and the refs what the tree needs."""
    fill(volume.source, files=400)
    rng = random.Random(5)
    for turn in range(20):
        for _ in range(5):
            path = volume.source / f"d{rng.randrange(7)}" / f"t{rng.randrange(30)}"
            if path.exists() and rng.random() < 0.5:
                path.unlink()
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(rng.randbytes(rng.choice((0, 100, 60_000, 400_000))))
        if turn % 7 == 3:
            page_in_place(volume.source)
        last = volume.back_up()
    fresh = Volume(volume.source, volume.vault)
    opened = volume.open(last.id)
    needed = needed_blocks(volume, last.id)
    assert {block for block, _ in opened.blocks.refs} == needed
    assert picture(fresh.restore(last.id)) == picture(volume.source)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("seed", range(3))
def test_lists_that_share_nodes_come_and_go(volume: Volume, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Files long enough to have lists of their own, copied, changed in place, cut, removed: refs name what is needed, no more, no less."""
    monkeypatch.setattr("recoup.engine.backup.lists.INLINE_UNIT_BYTES", 0)
    monkeypatch.setattr("recoup.engine.backup.lists.INLINE_RUNS", 0)
    monkeypatch.setattr("recoup.engine.backup.lists.LEAF_SPAN", 256 << 10)
    monkeypatch.setattr("recoup.engine.backup.fixed.LEAF_SPAN", 256 << 10)
    monkeypatch.setattr("recoup.engine.backup.lists.FANOUT", 3)
    rng = random.Random(seed)
    names = [volume.source / name for name in ("a.db", "b.db", "c.db", "d", "e", "z/f.db")]
    (volume.source / "z").mkdir()
    for _ in range(12):
        for path in rng.sample(names, 2):
            change_large(rng, path, names)
        last = volume.back_up()
        assert {block for block, _ in volume.open(last.id).blocks.refs} == needed_blocks(volume, last.id)
    assert picture(volume.restore(last.id)) == picture(volume.source)


def change_large(rng: random.Random, path: Path, names: list[Path]) -> None:
    others = [other for other in names if other.exists() and other != path]
    action = rng.choice(["new", "copy", "page", "cut", "remove"])
    if action == "copy" and others:
        path.write_bytes(rng.choice(others).read_bytes())
    elif action == "page" and path.exists():
        with path.open("r+b") as file:
            file.seek(rng.randrange(path.stat().st_size or 1))
            file.write(rng.randbytes(100_000))
    elif action == "cut" and path.exists():
        os.truncate(path, path.stat().st_size // 2)
    elif action == "remove":
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(rng.randbytes(rng.choice((300_000, 2_000_000, 5_000_000))))


def needed_blocks(volume: Volume, point: str) -> set[bytes]:
    """All block ids that somebody who walks the point's tree asks for."""
    from recoup.engine.format.kinds import BlockKind
    from recoup.engine.records.content import iterate_runs
    from recoup.engine.records.tree import iterate_tree

    opened = volume.open(point)
    asked: set[bytes] = set()

    def fetch(block: bytes, kind: BlockKind) -> bytes | memoryview:
        asked.add(block)
        return opened.blocks.fetch(block, kind)

    for entry in iterate_tree(fetch, opened.manifest.tree):
        asked |= {xattr.block for xattr in entry.xattrs if xattr.block}
        if entry.content is not None:
            asked |= {run.block for run in iterate_runs(fetch, entry.content)}
    return asked


def test_a_file_changed_just_before_the_backup_is_read_again(volume: Volume) -> None:
    """Same size, same mtime, and a ctime so near that a clock tick may hide a change."""
    path = volume.source / "f"
    path.write_bytes(b"one")
    first = volume.back_up()
    info = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    second = volume.back_up()
    assert second.bytes_read == 3
    assert (volume.restore(first.id) / "f").read_bytes() == b"one"
    assert (volume.restore(second.id) / "f").read_bytes() == b"two"


def test_a_settled_file_is_not_read_again(volume: Volume) -> None:
    (volume.source / "f").write_bytes(b"one")
    deadline = time.monotonic() + 30
    while time.time_ns() < (volume.source / "f").stat().st_ctime_ns + lineage.SETTLING + 10**8:
        assert time.monotonic() < deadline
        os.sched_yield()
    volume.back_up()
    assert volume.back_up().bytes_read == 0


@pytest.mark.usefixtures("settled")
def test_a_cache_that_lies_is_found_by_the_sample(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(volume.source, files=50)
    (volume.source / "d1/e1/f0001").write_bytes(b"content")
    volume.back_up()
    monkeypatch.setattr("recoup.engine.backup.sampling.PERIOD", 1)
    monkeypatch.setattr(leaves, "signatures", lambda stats: [b"same"] * len(stats))
    volume.back_up()
    (volume.source / "d1/e1/f0001").write_bytes(b"changed")
    result = volume.back_up()
    assert any("CacheDistrusted" in note for note in result.notes)
    assert (volume.restore(result.id) / "d1/e1/f0001").read_bytes() == b"changed"


def test_how_files_are_cut(volume: Volume) -> None:
    rng = random.Random(1)
    (volume.source / "small").write_bytes(rng.randbytes((256 << 10) - 1))
    (volume.source / "large").write_bytes(rng.randbytes(3 << 20))
    (volume.source / "x.sqlite").write_bytes(rng.randbytes(3 << 20))
    (volume.source / "magic").write_bytes(b"SQLite format 3\0" + rng.randbytes(3 << 20))
    (volume.source / "16384").write_bytes(rng.randbytes(3 << 20))
    with (volume.source / "holes").open("wb") as file:
        file.truncate(5 << 20)
        file.seek(1 << 20)
        file.write(rng.randbytes(1 << 20))
    entries = volume.entries(volume.back_up().id)
    schemes = {name: entry.content.scheme for name, entry in entries.items() if entry.content is not None}
    fixed = dict.fromkeys((b"16384", b"holes", b"magic", b"x.sqlite"), Scheme.FIXED)
    assert schemes == {b"small": Scheme.WHOLE, b"large": Scheme.CDC, **fixed}


def test_excludes(volume: Volume) -> None:
    for name in ("keep", "a.tmp", "cache/x", "deep/cache/x", "deep/b.tmp", "deep/er/log/1", "deep/er/keep"):
        path = volume.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    found = volume.entries(volume.back_up("*.tmp", "/cache", "**/log/**").id)
    assert set(found) == {b"keep", b"deep", b"deep/cache", b"deep/cache/x", b"deep/er", b"deep/er/keep", b"deep/er/log"}


@pytest.mark.usefixtures("settled")
def test_other_excludes_do_not_use_the_cache_of_before(volume: Volume) -> None:
    fill(volume.source, files=30)
    volume.back_up()
    result = volume.back_up("d1")
    assert any("other excludes" in note for note in result.notes)
    assert not any(name.startswith(b"d1") for name in volume.entries(result.id))
    assert result.bytes_stored < 200 << 10, "blocks are found through the index all the same"


def failing(monkeypatch: pytest.MonkeyPatch, bad: bytes, action: Callable[[], None]) -> None:
    def open_file(name: bytes, dir_fd: int | None = None) -> int:
        if name == bad:
            action()
        return source_files.open_file(name, dir_fd)

    monkeypatch.setattr(contents, "open_file", open_file)


def refuse() -> None:
    raise PermissionError(13, "Permission denied")


def replaced() -> None:
    raise FileChanged("replaced by another kind of file while the tree was read")


@pytest.mark.parametrize("reason", ["Unreadable", "Vanished", "Changed"])
def test_what_cannot_be_read_is_listed_and_the_rest_is_taken(volume: Volume, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    fill(volume.source, files=40)
    bad = volume.source / "d1/e1/f0001"
    bad.write_bytes(b"content")
    actions: dict[str, Callable[[], None]] = {"Unreadable": refuse, "Vanished": bad.unlink, "Changed": replaced}
    failing(monkeypatch, b"f0001", actions[reason])
    result = volume.back_up()
    assert [(error.path, error.reason) for error in result.errors] == [(b"d1/e1/f0001", reason)]
    manifest = volume.open(result.id).manifest
    assert (manifest.errors_total, manifest.errors[0].path) == (1, b"d1/e1/f0001")
    names = set(volume.entries(result.id))
    assert b"d1/e1/f0001" not in names
    assert b"d1/e1/f0022" in names
    monkeypatch.undo()
    if bad.exists():
        again = volume.back_up()
        assert not again.errors
        assert (volume.restore(again.id) / "d1/e1/f0001").read_bytes() == b"content"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("size", [5_000, 3 << 20])
def test_a_file_that_changes_while_it_is_read_is_said_and_read_again(volume: Volume, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = volume.source / "busy"
    path.write_bytes(b"a" * size)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"b")

    failing(monkeypatch, b"busy", grow)
    result = volume.back_up()
    assert [(error.path, error.reason) for error in result.errors] == [(b"busy", "Changed")]
    assert volume.entries(result.id)[b"busy"].size == size
    monkeypatch.undo()
    again = volume.back_up()
    assert not again.errors
    assert (volume.restore(again.id) / "busy").read_bytes() == b"a" * size + b"b"


@pytest.mark.parametrize("size", [200_000, 3 << 20])
def test_a_file_that_becomes_shorter_while_it_is_read(volume: Volume, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for name in ("busy", "busy.db"):
        (volume.source / name).write_bytes(os.urandom(size))
    failing(monkeypatch, b"busy", lambda: os.truncate(volume.source / "busy", size // 2))
    result = volume.back_up()
    assert [(error.path, error.reason) for error in result.errors] == [(b"busy", "Changed")]
    restored = volume.restore(result.id)
    assert (restored / "busy").read_bytes() == (volume.source / "busy").read_bytes()


def test_an_unreadable_directory_is_listed(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(volume.source, files=40)
    listdir = os.listdir

    def refusing(path: bytes) -> list[bytes]:
        names = listdir(path)
        if b"f0001" in names:
            refuse()
        return names

    monkeypatch.setattr("recoup.engine.source.walk.os.listdir", refusing)
    result = volume.back_up()
    assert [(error.path, error.reason) for error in result.errors] == [(b"d1/e1", "Unreadable")]
    names = set(volume.entries(result.id))
    assert b"d1/e1" in names
    assert b"d1/e1/f0001" not in names


@pytest.mark.usefixtures("settled")
def test_a_very_long_listing(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoup.engine.source.walk.BATCH", 100)
    for number in range(1050):
        (volume.source / f"f{number:05d}").write_bytes(b"%d" % number)
    first = volume.back_up()
    (volume.source / "f00500x").write_bytes(b"in between")
    second = volume.back_up()
    assert picture(volume.restore(second.id)) == picture(volume.source)
    assert second.files == first.files + 1
    assert volume.back_up().bytes_stored < 8 << 10


def test_a_source_that_cannot_be_listed_is_no_recovery_point(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoup.engine.source.walk.os.listdir", lambda _path: refuse())
    with pytest.raises(Invalid, match="cannot be listed") as caught:
        volume.back_up()
    assert caught.value.reason == "SourceUnreadable"
    assert not volume.vault.log.follow().commits


def test_sources_that_are_none(volume: Volume, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        volume.back_up(source=tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Invalid, match="neither a directory"):
        volume.back_up(source=tmp_path / "fifo")


@pytest.mark.usefixtures("settled")
def test_two_volumes_share_blocks(volume: Volume, tmp_path: Path) -> None:
    fill(volume.source, files=200)
    first = volume.back_up()
    other = tmp_path / "copy"
    volume.restore(first.id).rename(other)
    second = volume.back_up(source=other)
    assert second.bytes_stored < first.bytes_stored // 10
    assert picture(volume.restore(second.id)) == picture(other)


def test_hard_links_are_read_once(volume: Volume) -> None:
    (volume.source / "a").write_bytes(os.urandom(1 << 20))
    for name in ("b", "c"):
        (volume.source / name).hardlink_to(volume.source / "a")
    result = volume.back_up()
    assert result.bytes_read == 1 << 20
    entries = volume.entries(result.id)
    assert len({entry.group for entry in entries.values()}) == 1
    assert entries[b"a"].content == entries[b"c"].content != None  # noqa: E711


def test_no_descriptor_is_left_open_and_the_working_directory_stays(volume: Volume) -> None:
    fill(volume.source, files=30)
    here, before = Path.cwd(), len(list(Path("/proc/self/fd").iterdir()))
    volume.back_up()
    settle(volume.source)
    volume.back_up()
    assert Path.cwd() == here
    assert len(list(Path("/proc/self/fd").iterdir())) == before
