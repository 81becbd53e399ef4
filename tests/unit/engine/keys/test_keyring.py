"""Keyrings: every KEK opens one, no other key does, and no byte of one can be changed."""

from __future__ import annotations

import os
from itertools import product

import pytest

from recoup.engine.keys.kek import Kek, RecipientKek, SecretKek
from recoup.engine.keys.keyring import SECTIONS, Material, decode_keyring, open_keyring, seal_keyring
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


def test_a_keyring_needs_a_kek() -> None:
    with pytest.raises(ValueError, match="never be opened"):
        seal_keyring(MATERIAL, MATERIAL.certify(bytes(16), bytes(16), 1), [])
