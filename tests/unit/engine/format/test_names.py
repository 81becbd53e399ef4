"""Names of objects: what goes in comes out, and nothing else is accepted."""

from __future__ import annotations

import os

import pytest

from recoup.engine.format import names
from recoup.engine.format.padme import padme
from recoup.errors import Integrity

VAULT = bytes(range(16))
DIGEST = bytes(range(32))


@pytest.mark.parametrize("incarnation", [0, 1, 12])
def test_object_names_round_trip(incarnation: int) -> None:
    name = names.object_name(VAULT, "m", DIGEST, incarnation)
    assert names.parse_object_name(name) == (VAULT, "m", DIGEST, incarnation)


def test_names_are_those_of_the_format() -> None:
    vault = "v/000102030405060708090a0b0c0d0e0f/"
    digest = DIGEST.hex()
    assert names.object_name(VAULT, "d", DIGEST) == f"{vault}d/00/{digest}"
    assert names.object_name(VAULT, "x", DIGEST, 3) == f"{vault}x/00/{digest}.3"
    assert names.log_name(VAULT, 255) == f"{vault}log/00000000000000ff"
    assert names.checkpoint_name(VAULT, 128) == f"{vault}checkpoint/0000000000000080"
    assert names.descriptor_name(VAULT, 0) == f"{vault}descriptor/0"
    assert names.keyring_name(VAULT, 1, DIGEST) == f"{vault}keyring/1-{digest}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "recoup",
        f"v/{VAULT.hex()}/d/01/{DIGEST.hex()}",
        f"v/{VAULT.hex()}/q/00/{DIGEST.hex()}",
        f"v/{VAULT.hex()}/d/00/{DIGEST.hex()}.0",
        f"v/{VAULT.hex()}/d/00/{DIGEST.hex()}.01",
        f"v/{VAULT.hex()}/d/00/{DIGEST.hex()}.-1",
        f"v/{VAULT.hex()}/d/00/{DIGEST.hex().upper()}",
        f"v/{VAULT.hex()}/d/00/{DIGEST.hex()}\n",
        f"v/{VAULT.hex()}/d/../{DIGEST.hex()}",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Integrity):
        names.parse_object_name(name)


def test_ids_and_digests_have_their_length() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        names.vault_prefix(os.urandom(15))
    with pytest.raises(ValueError, match="32 bytes"):
        names.object_name(VAULT, "d", os.urandom(16))


@pytest.mark.parametrize(
    ("length", "padded"), [(0, 0), (1, 1), (2, 2), (9, 10), (100, 104), (1000, 1024), (1 << 24, 1 << 24), ((1 << 24) + 1, 17301504)]
)
def test_padme_values(length: int, padded: int) -> None:
    assert padme(length) == padded


def test_padme_grows_by_at_most_an_eighth_and_never_shrinks() -> None:
    last = 0
    for length in range(1, 70_000):
        padded = padme(length)
        assert length <= padded <= length + length // 8 + 1
        assert padded >= last
        assert padme(padded) == padded
        last = padded
