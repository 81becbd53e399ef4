"""What every kind of KEK promises, asked of each in the same words: as a wrap, and as what opens a keyring and a vault."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from recoup.engine.keys.given import Given
from recoup.engine.keys.keyring import Material, decode_keyring, open_keyring, seal_keyring
from recoup.engine.keys.wraps import KIND_NAMES, MAX_KEKS, BadWrap, Scope, Unwrapper, Wrap
from recoup.engine.unlock import unlock
from recoup.engine.vault import provision
from recoup.errors import Integrity, KeyUnavailable, RecoupError
from tests.contract.keks.kinds import KINDS, Made
from tests.unit.engine.keys.vaults import new_store

SCOPE = Scope(os.urandom(16), os.urandom(16), 1, "private")
KEY = os.urandom(32)
ELSEWHERE = {
    "repository": structs.replace(SCOPE, repo_id=os.urandom(16)),
    "vault": structs.replace(SCOPE, vault_id=os.urandom(16)),
    "generation": structs.replace(SCOPE, generation=2),
    "section": structs.replace(SCOPE, section="catalogue"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(kind: str) -> Made:
    return KINDS[kind]()


def test_it_opens_what_was_wrapped_to_it(made: Made, kind: str) -> None:
    wrap = made.closes.wrap(KEY, SCOPE)
    assert made.opens.unwrap(wrap, SCOPE) == KEY
    assert wrap.key == (made.closes.type, made.closes.id)
    assert KIND_NAMES[wrap.type] == kind
    assert len(wrap.id) == 16
    assert KEY not in wrap.wrapped
    assert made.opens.owns(wrap)
    assert made.closes.owns(wrap)


def test_another_key_of_the_kind_has_nothing_to_do_with_it(made: Made, kind: str) -> None:
    wrap, other = made.closes.wrap(KEY, SCOPE), KINDS[kind]()
    assert other.opens.unwrap(wrap, SCOPE) is None
    assert not other.opens.owns(wrap)


def test_every_other_kind_passes_over_it(made: Made, kind: str) -> None:
    wrap = made.closes.wrap(KEY, SCOPE)
    for name, make in KINDS.items():
        assert name == kind or make().opens.unwrap(wrap, SCOPE) is None


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_wrap_opens_in_its_own_place_only(made: Made, place: str) -> None:
    wrap = made.closes.wrap(KEY, SCOPE)
    with pytest.raises(BadWrap):
        made.opens.unwrap(wrap, ELSEWHERE[place])


def test_damage_is_noticed_or_makes_it_nobodys(made: Made) -> None:
    """A flipped bit in what names the key's cost or salt may make the wrap another key's; nothing else may pass, and never a wrong key."""
    wrap = made.closes.wrap(KEY, SCOPE)
    step = max(1, len(wrap.wrapped) // 40)
    for position in (*range(0, len(wrap.wrapped), step), len(wrap.wrapped) - 1):
        changed = bytearray(wrap.wrapped)
        changed[position] ^= 1
        assert _opened(made.opens, Wrap(wrap.type, wrap.id, bytes(changed))) is None


@pytest.mark.parametrize("length", [0, 1, 16, 39, 41, 67, 69, 1024, 900_000])
def test_wraps_of_any_length_end_in_a_clear_answer(made: Made, length: int) -> None:
    wrap = made.closes.wrap(KEY, SCOPE)
    if length == len(wrap.wrapped):
        return
    for data in (os.urandom(length), (wrap.wrapped * (1 + length // len(wrap.wrapped)))[:length]):
        assert _opened(made.opens, Wrap(wrap.type, wrap.id, data)) is None


def _opened(kek: Unwrapper, wrap: Wrap) -> bytes | None:
    """What comes out; nothing if it says that the wrap is bad, or that its service refuses it."""
    try:
        return kek.unwrap(wrap, SCOPE)
    except (BadWrap, KeyUnavailable):
        return None


def test_a_keyring_opens_with_it_among_others_and_says_why_not(made: Made, kind: str) -> None:
    material = Material.generate()
    certificate = material.certify(bytes(16), bytes(16), 1)
    others = [make() for name, make in KINDS.items() if name != kind]
    data = seal_keyring(material, certificate, [made.closes, *(other.closes for other in others)])
    opened = open_keyring(data, [made.opens], "x")
    assert opened.material == material
    assert opened.proven is made.opens.proves_origin is (kind in {"secret", "passphrase"})
    with pytest.raises(KeyUnavailable) as caught:
        open_keyring(data, [KINDS[kind]().opens], "x")
    assert caught.value.exit_code == 40
    assert opened.material == open_keyring(data, [KINDS[kind]().opens, others[0].opens], "x").material


def test_a_keyring_with_a_wrap_from_elsewhere_is_damaged(made: Made) -> None:
    material = Material.generate()
    certificate = material.certify(bytes(16), bytes(16), 1)

    class Liar:
        """A holder of the vault's root key who puts in a wrap of another generation."""

        type, id = made.closes.type, made.closes.id

        def wrap(self, section_key: bytes, scope: Scope) -> Wrap:
            return made.closes.wrap(section_key, structs.replace(scope, generation=7))

        def owns(self, wrap: Wrap) -> bool:
            return made.closes.owns(wrap)

    with pytest.raises(Integrity, match=r"the-keyring.*not wrapped to the key"):
        open_keyring(seal_keyring(material, certificate, [Liar()]), [made.opens], "the-keyring")


def test_a_vault_is_made_with_it_and_opened_with_it(made: Made, tmp_path: Path) -> None:
    store = new_store()
    vault = provision(store, [], [made.closes], vault_id=os.urandom(16), labels={"team": "a"})
    opened = unlock(store, Given((), (made.opens,)), fingerprint=vault.fingerprint)
    assert opened.writer == vault.writer
    assert opened.labels == {"team": "a"}


def test_nothing_secret_is_in_any_text(made: Made, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    material = Material.generate()
    data = seal_keyring(material, material.certify(bytes(16), bytes(16), 1), [made.closes])
    opened = open_keyring(data, [made.opens], "x")
    texts = [repr(made.opens), repr(made.closes), repr(opened), str(made.opens)]
    for wrong in (KINDS[kind]().opens,):
        with pytest.raises(RecoupError) as caught:
            open_keyring(data, [wrong], "x")
        texts += [str(caught.value), repr(caught.value)]
    texts += [record.getMessage() for record in caplog.records]
    secrets = [*made.secrets, KEY, *opened.section_keys, *msgspec.structs.astuple(material)]
    for secret in secrets:
        shown = [secret] if isinstance(secret, str) else [secret.hex(), repr(secret)[2:-1]]
        assert not [text for text in texts for form in shown if form in text]


def test_a_keyring_of_too_many_keys_is_refused(kind: str) -> None:
    material = Material.generate()
    certificate = material.certify(bytes(16), bytes(16), 1)
    secrets = [KINDS["secret"]().closes for _ in range(MAX_KEKS - 1)]
    data = seal_keyring(material, certificate, [*secrets, KINDS[kind]().closes])
    assert len(decode_keyring(data, "x")[1][0].wraps) == MAX_KEKS
    with pytest.raises(RecoupError) as caught:
        seal_keyring(material, certificate, [*secrets, *secrets])
    assert caught.value.reason == "TooManyKeys"
