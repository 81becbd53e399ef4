"""The kinds of KEK that the conformance suite runs on. A new kind adds one entry."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3

from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.kms import KmsKek
from recoup.engine.keys.passphrase import Cost, PassphraseKek
from recoup.engine.keys.wraps import Both, Wrapper

CHEAPEST = Cost(64 << 10, 3, 4)
"""The least that readers take: a test stretches many times."""


@dataclass(frozen=True)
class Made:
    """One KEK of a kind: what a keyring is wrapped to, what opens it, and everything that must never be seen of it."""

    closes: Wrapper
    opens: Both
    secrets: tuple[bytes | str, ...]


def a_secret() -> Made:
    kek = SecretKek.generate()
    return Made(kek, kek, (kek.raw, kek.to_text()))


def a_passphrase() -> Made:
    text = f"six random words and {os.urandom(8).hex()}"
    kek = PassphraseKek.from_text(text, CHEAPEST)
    return Made(kek, PassphraseKek.from_text(text, CHEAPEST), (text,))


def a_recipient(*, hybrid: bool = False) -> Made:
    kek = RecipientKek.generate(hybrid=hybrid)
    return Made(kek.recipient, kek, (kek.private.raw, kek.to_text()))


@functools.cache
def _kms(_endpoint: str) -> Any:
    """One client for each server: making one takes longer than all that it is asked."""
    return boto3.client("kms", region_name="eu-central-1")


def a_kms_key() -> Made:
    kek = KmsKek.from_text(_kms(os.environ["AWS_ENDPOINT_URL_KMS"]).create_key()["KeyMetadata"]["Arn"])
    return Made(kek, KmsKek.from_text(kek.arn), ())


KINDS: dict[str, Callable[[], Made]] = {
    "secret": a_secret,
    "passphrase": a_passphrase,
    "recipient": a_recipient,
    "hybrid": lambda: a_recipient(hybrid=True),
    "awsKms": a_kms_key,
}
