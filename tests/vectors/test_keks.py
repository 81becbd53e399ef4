"""The vectors of wraps: the product makes them again to the byte, and product and stranger open them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recoup.engine.format.envelopes import HPKE_HYBRID, PrivateKey
from recoup.engine.format.kinds import Kind
from recoup.engine.format.reader import ObjectReader, Opening
from recoup.engine.keys.kek import Kek, Recipient, kek_from_text
from recoup.engine.keys.keyring import open_keyring
from recoup.engine.keys.passphrase import PassphraseKek
from recoup.engine.keys.wraps import Unwrapper, Wrap
from tests.stranger import container, vault
from tests.vectors import make_keks
from tests.vectors.make_vectors import MATERIAL, REPO, SECRET, VAULT, to_json

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "keks.json").read_text())
RANDOM = {"keyring", "object"}
"""They hold HPKE envelopes."""


def data(text: str) -> bytes:
    return bytes.fromhex(text)


def test_the_product_makes_the_same_bytes_again() -> None:
    made = json.loads(to_json(make_keks.every()))
    for vectors in (made, VECTORS):
        vectors["hybrid"] = {name: value for name, value in vectors["hybrid"].items() if name != "hpke"}
    assert {name: made[name] for name in made if name not in RANDOM} == {name: VECTORS[name] for name in VECTORS if name not in RANDOM}


def test_the_hybrid_wrap_opens() -> None:
    vectors = json.loads((Path(__file__).parent / "keks.json").read_text())["hybrid"]
    kek = kek_from_text(vectors["private_text"])
    wrap = Wrap(HPKE_HYBRID, data(vectors["id"]), data(vectors["hpke"]))
    assert kek.unwrap(wrap, make_keks.SCOPE) == data(VECTORS["section_key"])
    assert Recipient.from_text(vectors["public_text"]).public == data(vectors["public"])
    pairs = container.key_pairs(data(vectors["seed"]))
    opened = container.open_hpke(pairs[data(vectors["id"])], data(vectors["hpke"]), data(VECTORS["scope"]["context"]))
    assert opened == data(VECTORS["section_key"])


def test_each_kind_opens_the_keyring_and_its_private_key_the_object() -> None:
    keyring, stored = data(VECTORS["keyring"]), data(VECTORS["object"])
    hybrid: Kek = kek_from_text(json.loads((Path(__file__).parent / "keks.json").read_text())["hybrid"]["private_text"])
    phrase = PassphraseKek.from_text(VECTORS["passphrase"]["text"])
    keks: list[tuple[Unwrapper, str]] = [(SECRET, SECRET.to_text()), (hybrid, hybrid.to_text()), (phrase, VECTORS["passphrase"]["text"])]
    for kek, text in keks:
        opened = open_keyring(keyring, [kek], "vector")
        assert opened.material == MATERIAL
        assert opened.certificate.hybrid
        assert vault.open_keyring(keyring, text)["private"] == MATERIAL.private
    private = PrivateKey(MATERIAL.private, hybrid=True)
    reader = ObjectReader(stored, Opening(REPO, VAULT, Kind.DATA, (private,)), "vector")
    assert bytes(reader.read(0)) == b"plain"
    assert container.read_object(stored, container.Keys([MATERIAL.private], []))[0].plain == b"plain"
