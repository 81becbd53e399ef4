"""What only the file:// store has to get right: links in its way, durability, leftovers, and messages."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recoup.engine.stores.file import FileStore
from recoup.errors import Denied, Integrity, Invalid, RecoupError, Retryable


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "location"))


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_link_in_place_of_a_directory_is_never_followed(store: FileStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_bytes(b"secret")
    store.create("a/b", b"")
    (tmp_path / "location" / "evil").symlink_to(outside)
    calls = (
        lambda: store.get("evil/x"),
        lambda: store.create("evil/y", b"planted"),
        lambda: store.delete("evil/x"),
        lambda: store.size("evil/x"),
    )
    for call in calls:
        with pytest.raises(Integrity) as caught:
            call()
        assert caught.value.reason == "UnexpectedFileType"
    assert [name for name, _ in store.list("")] == ["a/b"]
    assert names(outside) == ["x"]


def test_a_link_in_place_of_an_object_is_never_followed(store: FileStore, tmp_path: Path) -> None:
    store.create("a/b", b"")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "location" / "a" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Integrity):
        store.get("a/link")
    assert not store.create("a/link", b"new")  # something is there; it is neither followed nor replaced
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_fifo_in_place_of_an_object_does_not_block(store: FileStore, tmp_path: Path) -> None:
    store.create("a/b", b"")
    os.mkfifo(tmp_path / "location" / "a" / "fifo")
    with pytest.raises(Integrity):
        store.get("a/fifo")


def test_object_file_and_its_directories_are_synced_before_create_returns(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def watch(fd: int) -> None:
        synced.append("directory" if Path(f"/proc/self/fd/{fd}").is_dir() else "file")
        real(fd)

    monkeypatch.setattr(os, "fsync", watch)
    store.create("a/b/c", b"x")
    assert synced[-2:] == ["file", "directory"]
    assert synced.count("directory") == 4  # the parent of the root, the root (a is new), a (b is new), b


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EISDIR])
def test_without_unnamed_files_a_temporary_name_is_used_and_goes_away(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(code, os.strerror(code))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert store.create("a/b", b"data")
    assert not store.create("a/b", b"other")
    assert store.get("a/b") == b"data"
    assert names(tmp_path / "location" / "a") == ["b"]


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_full_disk_leaves_no_object_and_no_leftover(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    store.create("a/first", b"")
    monkeypatch.setattr("recoup.engine.stores.file._write", _full)
    if not unnamed:
        monkeypatch.setattr(FileStore, "_link_unnamed", staticmethod(lambda *_: None))
    with pytest.raises(Retryable) as caught:
        store.create("a/b", b"data")
    assert caught.value.reason == "OutOfSpace"
    assert "free some space" in str(caught.value)
    assert names(tmp_path / "location" / "a") == ["first"]


def _full(_fd: int, _data: bytes) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("code", "kind", "reason"),
    [
        (errno.EACCES, Denied, "AccessDenied"),
        (errno.EROFS, Denied, "AccessDenied"),
        (errno.EDQUOT, Retryable, "OutOfSpace"),
        (errno.EIO, Retryable, "LocationUnreachable"),
        (errno.ESTALE, Retryable, "LocationUnreachable"),
        (errno.ELOOP, Integrity, "UnexpectedFileType"),
    ],
)
def test_errors_of_the_file_system_are_translated(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[RecoupError], reason: str
) -> None:
    store.create("a/b", b"x")

    def fail(_folder: int, _segment: str, *, make: bool) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("recoup.engine.stores.file._enter", fail)
    with pytest.raises(kind) as caught:
        store.get("a/b")
    assert caught.value.reason == reason
    assert "a/b at file://" in str(caught.value)


def test_a_missing_parent_directory_is_not_made(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "mnt" / "usb" / "backups"))
    with pytest.raises(Invalid) as caught:
        store.create("recoup", b"")
    assert caught.value.reason == "LocationNotFound"
    assert "mounted" in str(caught.value)
    assert names(tmp_path) == []
