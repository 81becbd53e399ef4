"""A provider that answers with other objects than were asked for: sealed rightly, of this vault and kind, but not these."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoup.cli.main import run
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.names import object_name
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.engine.points import find_point, open_point
from recoup.engine.records.manifest import encode_manifest
from recoup.engine.stores.file import FileStore
from recoup.engine.unlock import unlock
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity


class Scene:
    """Two recovery points of one directory, the older one with the password that was changed since."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store = FileStore(str(directory / "location"))
        self.key, self.target = directory / "a.key", directory / "target"
        self._options = ["--location", self.store.url, "--key-file", str(self.key)]
        source = directory / "source"
        source.mkdir()
        assert run(["keygen", str(self.key)]) == run(["init", *self._options]) == 0
        self.points: list[str] = []
        for password in ("old", "new"):
            (source / "password").write_text(password)
            capsys.readouterr()
            assert run(["backup", *self._options, "--source", str(source)]) == 0
            self.points.append(capsys.readouterr().out.strip())

    def unlock(self) -> Unlocked:
        return unlock(self.store, [self.key])

    def restore(self, point: str) -> int:
        return run(["restore", *self._options, "--snapshot", point, "--target", str(self.target)])

    def replace(self, point: str, data: bytes) -> None:
        name = object_name(self.unlock().identity.vault_id, "m", bytes.fromhex(point))
        self.store.delete(name)
        assert self.store.create(name, data)

    def stored(self, point: str) -> bytes:
        return self.store.get(object_name(self.unlock().identity.vault_id, "m", bytes.fromhex(point)))


@pytest.fixture
def scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    return Scene(tmp_path, capsys)


def test_the_scene_restores_what_was_asked_for(scene: Scene) -> None:
    assert scene.restore(scene.points[1]) == 0
    assert (scene.target / "password").read_text() == "new"


def test_an_older_manifest_in_place_of_the_newer_one_is_refused(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.replace(scene.points[1], scene.stored(scene.points[0]))
    assert scene.restore(scene.points[1]) == 30
    assert scene.points[1] in capsys.readouterr().err
    assert not (scene.target / "password").exists()


def test_a_manifest_that_somebody_sealed_to_the_public_key_is_refused(scene: Scene) -> None:
    """All that it takes is public: HPKE says to whom, not by whom."""
    unlocked = scene.unlock()
    old, new = (open_point(unlocked, find_point(unlocked, point)) for point in scene.points)
    identity, certificate = unlocked.identity, unlocked.log.state.certificates[1]
    sealing = Sealing(identity.repo_id, identity.vault_id, 1, Kind.MANIFEST, os.urandom(32), recipients=(certificate.data,))
    plain = encode_manifest(old.manifest)
    builder = ObjectBuilder(sealing, 1 << 20)
    builder.add(block_id(os.urandom(32), BlockKind.MANIFEST, plain), BlockKind.MANIFEST, Codec.RAW, len(plain), plain)
    scene.replace(new.id, bytes(builder.close(stored_size=None).data))
    with pytest.raises(Integrity, match="another object"):
        open_point(unlocked, find_point(unlocked, new.id))
    assert scene.restore(new.id) == 30
