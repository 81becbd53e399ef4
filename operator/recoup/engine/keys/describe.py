"""A wrap in words, for `recoup keys list`: which KEK it is for, as far as the keyring itself says. Needs no key."""

from __future__ import annotations

from recoup.engine.keys.kms import split_wrap
from recoup.engine.keys.passphrase import parameters_of
from recoup.engine.keys.wraps import AWS_KMS, KIND_NAMES, PASSPHRASE, BadWrap, Wrap


def kind_of(wrap: Wrap) -> str:
    return KIND_NAMES.get(wrap.type, f"type {wrap.type}")


def detail_of(wrap: Wrap) -> str:
    """The KMS key's ARN, or what a guess at the passphrase costs; empty for the other kinds."""
    try:
        if wrap.type == AWS_KMS:
            return split_wrap(wrap)[0]
        if wrap.type == PASSPHRASE:
            cost, _ = parameters_of(wrap)
            return f"Argon2id, {cost.memory >> 10} MiB, {cost.iterations} passes"
    except BadWrap:
        return "damaged"
    return ""
