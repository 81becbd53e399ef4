"""Write-only movers: with all that a mover has when its run ends, nothing of earlier recovery points can be read.

The secrets are collected, not listed: the files it mounts, its environment and arguments, its memory at the end of the run.
What they open is tried by a reader that shares no code with the engine. Two controls show that the same attempt succeeds when
it should: with a key file, and when a writer's key was planted as a recipient.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Provisioned, provision
from tests.e2e.engine.memory import Dump, run_and_dump
from tests.e2e.engine.thief import Loot, steal

KEK, OFFLINE = SecretKek.generate(), RecipientKek.generate()
PLANTED = """
import dataclasses, sys
from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.keys.roles import WriterKeys
honest = WriterKeys.sealing
def sealing(self, kind):
    made = honest(self, kind)
    if kind.readable_by_writer:
        return made
    return dataclasses.replace(made, recipients=(*made.recipients, PrivateKey(self.writer_private).public))
WriterKeys.sealing = sealing
from recoup.cli.main import main
main(sys.argv[1:])
"""


@dataclass
class Scene:
    """A vault, a source that had secrets once, and the mover's mounts."""

    directory: Path
    made: Provisioned
    program: list[str]

    @property
    def location(self) -> Path:
        return self.directory / "location"

    @property
    def mounts(self) -> Path:
        return self.directory / "mounts"

    @property
    def source(self) -> Path:
        return self.directory / "source"

    def arguments(self) -> list[str]:
        keys = ["--location", f"file://{self.location}", "--writer-keys", str(self.mounts)]
        return [*self.program, "backup", *keys, "--source", str(self.source)]

    def bucket(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.location)): path.read_bytes() for path in self.location.rglob("*") if path.is_file()}

    def log_entries(self) -> int:
        return len(list((self.location / "v" / self.made.writer.identity.vault_id.hex() / "log").glob("[0-9a-f]*")))


def canary(name: str) -> bytes:
    return b"CANARY-" + name.encode() + b"-" + os.urandom(12).hex().encode()


CANARIES = {name: canary(name) for name in ("small", "large", "group", "file", "folder", "link", "attribute", "value", "long")}


def fill(source: Path) -> None:
    """The source as it was at the earlier point: canaries wherever a source has something to hide."""
    source.mkdir()
    for number in range(60):
        (source / f"stays-{number:03}").write_bytes(os.urandom(2000))
    secret = source / os.fsdecode(CANARIES["folder"])
    secret.mkdir()
    (secret / os.fsdecode(CANARIES["file"])).write_bytes(CANARIES["small"])
    (secret / "large").write_bytes(os.urandom(3 << 20) + CANARIES["large"] + os.urandom(3 << 20))
    (secret / "text").write_bytes((CANARIES["group"] + b" and words that compress well. ") * 3000)
    (secret / "link").symlink_to(os.fsdecode(CANARIES["link"]))
    os.setxattr(secret / "text", b"user." + CANARIES["attribute"], CANARIES["value"])
    os.setxattr(secret / "large", b"user.long", (CANARIES["long"] + b".") * 60)


def empty(source: Path) -> None:
    """The source as the mover sees it now: the canaries are gone, something new is there."""
    (secret,) = (path for path in source.iterdir() if path.is_dir())
    for path in secret.iterdir():
        path.unlink()
    secret.rmdir()
    for number in range(20):
        (source / f"new-{number:03}").write_bytes(os.urandom(5000))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory whose file system has extended attributes; the proof needs them."""
    probe = tmp_path / "probe"
    probe.touch()
    os.setxattr(probe, b"user.probe", b"")
    return tmp_path


def prepare(directory: Path, program: list[str]) -> Scene:
    """One earlier recovery point with canaries, by a mover of its own process."""
    made = provision(FileStore(str(directory / "location")), [KEK], [OFFLINE.recipient], vault_id=os.urandom(16), labels={})
    scene = Scene(directory, made, program)
    scene.mounts.mkdir()
    made.writer.save(scene.mounts)
    fill(scene.source)
    subprocess.run(scene.arguments(), check=True, capture_output=True, timeout=120)
    empty(scene.source)
    return scene


def later_run(scene: Scene) -> Dump:
    """A later backup, taken when its COMMIT stands and again as it exits."""
    before = scene.log_entries()
    dump = run_and_dump(scene.arguments(), lambda: scene.log_entries() == before + 2, scene.directory / "output")
    assert dump.exit_code == 0, dump.output
    return dump


def taken_from(scene: Scene, dump: Dump) -> list[bytes]:
    """All that the mover had, and what the controller may read besides: the catalogue's Secret."""
    mounts = [path.read_bytes() for path in scene.mounts.rglob("*") if path.is_file()]
    return [*dump.everything, *mounts, *scene.made.catalogue.to_files().values()]


def leaks(loot: Loot) -> dict[str, list[str]]:
    found = {name: loot.shows(value) for name, value in CANARIES.items()}
    return {name: objects for name, objects in found.items() if objects}


def content_of(bucket: dict[str, bytes]) -> set[str]:
    return {name for name in bucket if "/d/" in name or "/m/" in name}


@pytest.mark.timeout(600)
def test_a_mover_taken_over_at_the_end_of_its_run_shows_nothing_of_earlier_points(directory: Path) -> None:
    scene = prepare(directory, [sys.executable, "-m", "recoup.cli.main"])
    dump = later_run(scene)
    bucket = scene.bucket()
    taken = taken_from(scene, dump)
    loot = steal(taken, bucket)
    assert scene.made.writer.root_key in b"".join(dump.memory), "the dump does not even hold the mover's own key"
    assert loot.plaintexts, "the attempt opened nothing at all: it proves nothing"
    assert all("/x/" in name for name in loot.plaintexts)
    assert content_of(bucket) <= set(loot.closed)
    assert leaks(loot) == {}
    for name, value in CANARIES.items():
        assert not any(value in part for part in taken), name
        assert not any(value in data for data in bucket.values()), name
    check_control_with_a_kek(bucket, taken)


def check_control_with_a_kek(bucket: dict[str, bytes], taken: list[bytes]) -> None:
    """The same attempt with either KEK shows everything, so it would have shown it before."""
    small = [part for part in taken if len(part) < 10_000]
    for text in (KEK.to_text(), OFFLINE.to_text()):
        loot = steal([*small, text.encode()], bucket)
        assert loot.closed == []
        assert set(leaks(loot)) == set(CANARIES)


@pytest.mark.timeout(600)
def test_control_a_writers_key_planted_as_recipient_is_found_and_opens_all(directory: Path) -> None:
    scene = prepare(directory, [sys.executable, "-c", PLANTED])
    loot = steal(taken_from(scene, later_run(scene)), scene.bucket())
    assert set(leaks(loot)) == set(CANARIES)
    assert loot.closed == []
