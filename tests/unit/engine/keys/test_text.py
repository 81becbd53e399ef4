"""Keys as text: what a person copies must be noticed when copied wrongly, and never repeated in an error."""

from __future__ import annotations

import os

import pytest

from recoup.engine.keys import text
from recoup.engine.keys.kek import Recipient, RecipientKek, SecretKek, kek_from_text
from recoup.errors import Invalid

PREFIXES = {text.KEK: 32, text.RECIPIENT_PRIVATE: 32, text.RECIPIENT: 32, text.FINGERPRINT: 48}


@pytest.mark.parametrize(("prefix", "length"), PREFIXES.items())
def test_texts_round_trip(prefix: str, length: int) -> None:
    payload = os.urandom(length)
    written = text.encode_text(prefix, payload)
    assert text.decode_text(prefix, written) == payload
    assert text.decode_text(prefix, f"  {written}\n") == payload
    assert written.islower()


@pytest.mark.parametrize(("prefix", "length"), PREFIXES.items())
def test_every_changed_or_missing_character_is_noticed(prefix: str, length: int) -> None:
    written = text.encode_text(prefix, os.urandom(length))
    for position, letter in enumerate(written):
        other = "q" if letter != "q" else "p"
        for wrong in (
            written[:position] + other + written[position + 1 :],
            written[:position] + written[position + 1 :],
            written[:position],
        ):
            with pytest.raises(Invalid) as caught:
                text.decode_text(prefix, wrong)
            assert written[20:40] not in str(caught.value)


def test_a_text_of_another_prefix_is_refused() -> None:
    written = text.encode_text(text.RECIPIENT, bytes(32))
    with pytest.raises(Invalid):
        text.decode_text(text.KEK, written)
    with pytest.raises(Invalid, match="public half"):
        kek_from_text(written)


def test_fixed_texts() -> None:
    """Format: these stand on paper in safes."""
    assert text.encode_text(text.KEK, bytes(32)) == "recoupsecret1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaagj5hrbu"
    assert text.encode_fingerprint(bytes(16), bytes(32)).startswith("recoupvault1aaaaaaaa")


def test_keks_come_back_from_their_text() -> None:
    secret, private = SecretKek.generate(), RecipientKek.generate()
    assert kek_from_text(secret.to_text()) == secret
    assert kek_from_text(private.to_text()) == private
    assert Recipient.from_text(private.recipient.to_text()) == private.recipient
    for kek in (secret, private):
        assert kek.to_text()[20:] not in repr(kek)
    assert secret.raw.hex() not in repr(secret)
