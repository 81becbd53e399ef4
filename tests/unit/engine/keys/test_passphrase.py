"""Passphrases: the cost that is chosen, the costs that are refused, and what may be a passphrase at all."""

from __future__ import annotations

import os
import struct
import unicodedata
from pathlib import Path

import pytest

from recoup.engine.keys import passphrase
from recoup.engine.keys.passphrase import LEAST, MOST, Cost, PassphraseKek, read_passphrase, tune
from recoup.engine.keys.wraps import PASSPHRASE, BadWrap, Scope, Wrap
from recoup.errors import Invalid, KeyUnavailable

SCOPE = Scope(bytes(16), bytes(16), 1, "root")
CHEAPEST = Cost(64 << 10, 3, 1)


def test_the_real_thing_opens_only_with_the_same_passphrase() -> None:
    wrap = PassphraseKek.from_text("correct horse battery staple", CHEAPEST).wrap(b"k" * 32, SCOPE)
    assert PassphraseKek.from_text("correct horse battery staple").unwrap(wrap, SCOPE) == b"k" * 32
    assert PassphraseKek.from_text("Correct horse battery staple").unwrap(wrap, SCOPE) is None


@pytest.mark.parametrize(("seconds", "iterations"), [(0.0003, MOST), (0.03, MOST), (0.3, 10), (1.0, 3), (60.0, LEAST.iterations)])
def test_the_cost_follows_the_machine_between_its_bounds(seconds: float, iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passphrase, "stretch", lambda *_: b"")
    clock = iter([100.0, 100.0 + seconds])
    cost = tune(lambda: next(clock))
    assert cost == LEAST._replace(iterations=iterations)
    assert cost.within_limits


def test_the_cost_is_measured_once_and_each_salt_stretched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[bytes, Cost]] = []
    monkeypatch.setattr(passphrase, "stretch", lambda _, salt, cost: calls.append((salt, cost)) or os.urandom(32))  # type: ignore[func-returns-value]  # a list's append
    monkeypatch.setattr(passphrase, "tune", lambda: LEAST)
    kek = PassphraseKek.from_text("correct horse battery staple")
    for section in ("root", "writer", "private"):
        scope = Scope(bytes(16), bytes(16), 1, section)
        assert kek.unwrap(kek.wrap(b"k" * 32, scope), scope) == b"k" * 32
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("memory", "iterations", "lanes"),
    [
        (8, 1, 1),
        ((64 << 10) - 1, 3, 1),
        (64 << 10, 2, 1),
        (64 << 10, 3, 0),
        (64 << 10, 3, 17),
        ((1 << 20) + 1, 3, 4),
        (2**32 - 1, 2**32 - 1, 255),
        (1 << 20, 17, 4),
        (64 << 10, 257, 4),
    ],
)
def test_a_cost_that_no_honest_program_writes_costs_nothing(
    memory: int, iterations: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too cheap would let others guess what this person's passphrase is; too dear would take a reader's memory or day."""
    monkeypatch.setattr(passphrase, "stretch", lambda *_: pytest.fail("stretched"))
    wrapped = struct.pack(">IIB3s16s", memory, iterations, lanes, bytes(3), bytes(16)) + bytes(40)
    with pytest.raises(BadWrap):
        PassphraseKek.from_text("correct horse battery staple").unwrap(Wrap(PASSPHRASE, bytes(16), wrapped), SCOPE)


def test_reserved_bytes_are_zero() -> None:
    wrapped = struct.pack(">IIB3s16s", *CHEAPEST, b"\0\0\1", bytes(16)) + bytes(40)
    with pytest.raises(BadWrap):
        PassphraseKek.from_text("correct horse battery staple").unwrap(Wrap(PASSPHRASE, bytes(16), wrapped), SCOPE)


def test_a_keyboard_that_composes_letters_otherwise_opens_it_too() -> None:
    typed = "größe des Schlüssels: ångström"
    kek = PassphraseKek.from_text(unicodedata.normalize("NFD", typed))
    assert kek.passphrase == PassphraseKek.from_text(unicodedata.normalize("NFC", typed)).passphrase


@pytest.mark.parametrize(
    ("content", "text"), [(b"one two three\n", "one two three"), (b"one two three\r\nmore", "one two three"), (b" x y z \n", " x y z ")]
)
def test_the_first_line_of_a_file_is_the_passphrase(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_bytes(content)
    assert read_passphrase(str(tmp_path / "phrase")).passphrase == text.encode()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * 1025])
def test_what_is_no_passphrase_is_refused_without_repeating_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_bytes(content)
    with pytest.raises(Invalid, match="does not hold a passphrase"):
        read_passphrase(str(tmp_path / "phrase"))
    with pytest.raises(KeyUnavailable):
        read_passphrase(str(tmp_path / "missing"))


def test_a_short_passphrase_opens_old_wraps_and_gets_no_new_ones(tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("hunter2\n")
    assert read_passphrase(str(tmp_path / "phrase"))
    with pytest.raises(Invalid) as caught:
        read_passphrase(str(tmp_path / "phrase"), new=True)
    assert caught.value.reason == "WeakPassphrase"
    assert "hunter2" not in str(caught.value)
