"""Roles hold their part and no more, and what they save comes back."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.sealed import ObjectBuilder, ObjectReader
from recoup.engine.keys.keyring import Material
from recoup.engine.keys.roles import CatalogueKeys, SavedKeys, WriterKeys
from recoup.engine.keys.signing import SigningKey
from recoup.errors import Invalid, KeyUnavailable, NotFound
from tests.unit.engine.keys.vaults import unlocked

U = unlocked()


@pytest.mark.parametrize("keys", [U.writer, U.catalogue, U.maintenance])
def test_saved_roles_come_back_with_mode_0600(keys: SavedKeys, tmp_path: Path) -> None:
    keys.save(tmp_path)
    assert type(keys).load(tmp_path) == keys
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == [type(keys).file_name()]


def test_a_missing_damaged_or_newer_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"writer\.json"):
        WriterKeys.load(tmp_path)
    U.writer.save(tmp_path)
    path = tmp_path / "writer.json"
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(Invalid, match=r"writer\.json"):
        WriterKeys.load(tmp_path)
    path.write_bytes(content.replace(b'"version":1', b'"version":2'))
    with pytest.raises(Invalid, match="update"):
        WriterKeys.load(tmp_path)
    path.write_bytes(U.catalogue.to_files()["catalogue.json"])
    with pytest.raises(Invalid):
        WriterKeys.load(tmp_path)


def test_no_role_shows_a_secret_in_its_repr() -> None:
    for keys in (U.writer, U.catalogue, U.reader, U.maintenance, U):
        assert "\\x" not in repr(keys).replace(repr(U.identity), "").replace(repr(U.log), "")


def secrets_in(keys: SavedKeys) -> set[str]:
    material = U.materials[1]
    text = msgspec.json.encode(keys).decode()
    return {name for name in Material.__struct_fields__ if msgspec.json.encode(getattr(material, name)).decode().strip('"') in text}


def test_the_writer_holds_no_private_data_key_and_the_controller_nothing_but_listing() -> None:
    assert secrets_in(U.writer) == {"writer_root", "writer"}
    assert secrets_in(U.catalogue) == {"run"}
    assert set(CatalogueKeys.__struct_fields__) == {"version", "identity", "meta_keys", "run_private"}
    assert U.catalogue.meta_keys == {1: U.writer.meta_key}


@pytest.mark.parametrize("kind", Kind)
def test_who_opens_which_kind(kind: Kind) -> None:
    builder = ObjectBuilder(U.writer.sealing(kind), 1 << 16)
    builder.add(os.urandom(32), BlockKind.DATA, Codec.RAW, 3, b"abc")
    sealed = builder.close(stored_size=None)
    by_writer, by_reader = U.writer.opening(kind), U.reader.opening(kind)
    if kind.readable_by_writer:
        assert bytes(ObjectReader(sealed.data, by_writer, "x").read(0)) == b"abc"
    else:
        with pytest.raises(KeyUnavailable):
            ObjectReader(sealed.data, by_writer, "x")
    if kind is Kind.CACHE:
        with pytest.raises(KeyUnavailable):
            ObjectReader(sealed.data, by_reader, "x")
    else:
        assert bytes(ObjectReader(sealed.data, by_reader, "x").read(0)) == b"abc"


def test_every_derived_key_is_another() -> None:
    writer = U.writer
    keys = [writer.root_key, writer.id_key, writer.index_key, writer.cache_key, writer.meta_key, writer.gear_seed, writer.path_key]
    keys += [writer.sealing(kind).hedge_key for kind in (Kind.DATA, Kind.INDEX, Kind.CACHE)]
    assert len(set(keys)) == len(keys)
    assert writer.sealing(Kind.TREE).hedge_key == writer.sealing(Kind.DATA).hedge_key


def test_signers_are_those_of_the_certificate() -> None:
    certificate = U.log.state.certificates[1]
    assert U.writer.signer.public == certificate.writer
    assert U.reader.signer.public == certificate.verifier
    assert U.maintenance.signer.public == certificate.maintenance
    assert U.catalogue.run_signer.public == U.descriptor().run_keys[0]
    assert SigningKey(U.materials[1].root).public == certificate.root == U.identity.root_public


def test_an_unknown_generation_names_itself() -> None:
    with pytest.raises(KeyUnavailable, match="generation 2"):
        U.reader.id_key(2)
    assert U.reader.id_key(1) == U.writer.id_key
