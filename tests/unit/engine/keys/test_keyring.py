"""Keyrings: every KEK opens one, no other key does, and no byte of one can be changed."""

from __future__ import annotations

import os
from itertools import product

import msgspec
import pytest

from recoup.engine.keys import keyring
from recoup.engine.keys.certificate import sign_certificate, verify_certificate
from recoup.engine.keys.kek import Kek, RecipientKek, SecretKek
from recoup.engine.keys.keyring import SECTIONS, Material, decode_keyring, open_keyring, seal_keyring
from recoup.engine.keys.signing import SigningKey
from recoup.errors import Integrity, KeyUnavailable

SECRET, OFFLINE = SecretKek.generate(), RecipientKek.generate()
MATERIAL = Material.generate()
KEYRING = seal_keyring(MATERIAL, MATERIAL.certify(bytes(16), os.urandom(16), 1), [SECRET, OFFLINE.recipient])


@pytest.mark.parametrize(("kek", "proven"), [(SECRET, True), (OFFLINE, False)])
def test_each_kek_opens_it_and_only_a_secret_proves_who_made_it(kek: Kek, proven: bool) -> None:
    opened = open_keyring(KEYRING, [kek], "x")
    assert opened.material == MATERIAL
    assert opened.proven is proven


def test_no_other_kek_opens_it() -> None:
    with pytest.raises(KeyUnavailable):
        open_keyring(KEYRING, [SecretKek.generate(), RecipientKek.generate()], "x")
    with pytest.raises(KeyUnavailable):
        open_keyring(KEYRING, [], "x")


def test_no_secret_of_it_stands_in_the_clear() -> None:
    for name in Material.__struct_fields__:
        assert getattr(MATERIAL, name) not in KEYRING
    assert len(repr(MATERIAL)) < 20


def test_every_single_bit_flip_is_noticed() -> None:
    whole = bytearray(KEYRING)
    for position, bit in product(range(len(whole)), (1, 128)):
        whole[position] ^= bit
        with pytest.raises(Integrity, match="the-keyring"):
            decode_keyring(bytes(whole), "the-keyring")
        whole[position] ^= bit


def test_every_truncation_and_extension_is_noticed() -> None:
    for length in range(len(KEYRING)):
        with pytest.raises(Integrity):
            decode_keyring(KEYRING[:length], "x")
    with pytest.raises(Integrity):
        decode_keyring(KEYRING + b"\0", "x")


def test_sections_are_wrapped_separately() -> None:
    _, sections = decode_keyring(KEYRING, "x")
    assert tuple(section.name for section in sections) == SECTIONS
    wraps = [wrap.wrapped for section in sections for wrap in section.wraps]
    assert len(set(wraps)) == len(SECTIONS) * 2
    assert all({wrap.id for wrap in section.wraps} == {SECRET.id, OFFLINE.id} for section in sections)


def certified(**changes: object) -> bytes:
    """A certificate that the root key signed, whatever it says."""
    honest = verify_certificate(MATERIAL.certify(bytes(16), bytes(16), 1), "x")
    return sign_certificate(msgspec.structs.replace(honest, **changes), SigningKey(MATERIAL.root))


@pytest.mark.parametrize(
    "changes",
    [{"data": b"short"}, {"writer": b""}, {"root": bytes(31)}, {"repo_id": bytes(15)}, {"vault_id": bytes(32)}, {"generation": 0}],
    ids=str,
)
def test_a_certificate_with_malformed_keys_or_ids_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Integrity):
        verify_certificate(certified(**changes), "x")


def test_a_certificate_that_another_key_signed_in_the_roots_name_is_refused() -> None:
    honest = verify_certificate(certified(), "x")
    with pytest.raises(Integrity, match="not signed by the root key"):
        verify_certificate(sign_certificate(honest, SigningKey.generate()), "x")


def resealed(monkeypatch: pytest.MonkeyPatch, **changes: object) -> bytes:
    """A keyring by somebody who holds the root key and does not follow the format."""
    for name, value in changes.items():
        monkeypatch.setattr(keyring, name, value)
    data = seal_keyring(MATERIAL, MATERIAL.certify(bytes(16), bytes(16), 1), [SECRET])
    monkeypatch.undo()
    return data


def test_sections_missing_doubled_or_in_another_order_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_keyring(resealed(monkeypatch), [SECRET], "x").material == MATERIAL
    for names in (SECTIONS[:-1], (*SECTIONS, "root"), SECTIONS[::-1]):
        with pytest.raises(Integrity, match="its sections"):
            open_keyring(resealed(monkeypatch, SECTIONS=names), [SECRET], "x")


@pytest.mark.parametrize("fields", [(), ("run",), ("root", "run")])
def test_a_section_with_other_fields_is_refused(fields: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {**keyring._SECTION_FIELDS, "root": fields}
    data = resealed(monkeypatch, _SECTION_FIELDS=changed)
    with pytest.raises(Integrity, match="content of section root"):
        open_keyring(data, [SECRET], "x")


def test_a_wrap_that_names_our_key_and_is_another_is_refused() -> None:
    liar = SecretKek.generate()
    object.__setattr__(liar, "id", SECRET.id)
    data = seal_keyring(MATERIAL, MATERIAL.certify(bytes(16), bytes(16), 1), [liar])
    with pytest.raises(Integrity, match="not wrapped to the key that it names"):
        open_keyring(data, [SECRET], "x")


def test_a_keyring_whose_certificate_another_root_signed_is_refused() -> None:
    foreign = Material.generate()
    data = seal_keyring(MATERIAL, foreign.certify(bytes(16), bytes(16), 1), [SECRET])
    with pytest.raises(Integrity, match="not signed by the root key"):
        decode_keyring(data, "x")


def test_a_keyring_needs_a_kek() -> None:
    with pytest.raises(ValueError, match="never be opened"):
        seal_keyring(MATERIAL, MATERIAL.certify(bytes(16), bytes(16), 1), [])
