"""Who opens a vault, in words, for `recoup keys list`: as far as the keyrings themselves say, which needs no key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recoup.engine.keys.keyring import Section
from recoup.engine.keys.kms_wrap import split_wrapped
from recoup.engine.keys.passphrase import parameters_of
from recoup.engine.keys.wraps import AWS_KMS, KIND_NAMES, PASSPHRASE, BadWrap, Wrap, Wrapper
from recoup.value import Value


def kind_of(wrap: Wrap) -> str:
    return KIND_NAMES.get(wrap.type, f"type {wrap.type}")


def detail_of(wrap: Wrap) -> str:
    """The KMS key's ARN, or what a guess at the passphrase costs; empty for the other kinds."""
    try:
        if wrap.type == AWS_KMS:
            return split_wrapped(wrap.wrapped)[0]
        if wrap.type == PASSPHRASE:
            cost, _ = parameters_of(wrap)
            return f"Argon2id, {cost.memory >> 10} MiB, {cost.iterations} passes"
    except BadWrap:
        return "damaged"
    return ""


class Listed(Value, frozen=True):
    """One KEK of a vault."""

    id: str
    kind: str
    detail: str
    generations: tuple[int, ...]
    """Those that it opens."""
    at_hand: bool
    """Whether it is one of the keys given."""


def list_keks(keyrings: Mapping[int, Sequence[Section]], given: Sequence[Wrapper]) -> list[Listed]:
    """The KEKs of these keyrings by generation, in the order of the newest. Asks no service; a passphrase given costs a second."""
    found: dict[tuple[int, bytes], Wrap] = {}
    opens: dict[tuple[int, bytes], list[int]] = {}
    for generation in sorted(keyrings, reverse=True):
        for wrap in keyrings[generation][0].wraps:
            found.setdefault(wrap.key, wrap)
            opens.setdefault(wrap.key, []).append(generation)
    return [
        Listed(wrap.id.hex(), kind_of(wrap), detail_of(wrap), tuple(sorted(opens[key])), any(owns(kek, wrap) for kek in given))
        for key, wrap in found.items()
    ]


def owns(kek: Wrapper, wrap: Wrap) -> bool:
    """Whether the wrap is for this KEK; one that is not even well-formed is for nobody."""
    try:
        return kek.owns(wrap)
    except BadWrap:
        return False
