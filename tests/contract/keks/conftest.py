"""AWS KMS and IAM as moto's server has them, reached by the environment that botocore knows; and passphrases that cost little."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from recoup.engine.keys import passphrase
from recoup.engine.keys.passphrase import Cost
from tests.contract.stores.places import moto_server


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials of somebody who may do everything."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", moto)
    monkeypatch.setenv("AWS_ENDPOINT_URL_IAM", moto)
    return moto


@pytest.fixture(autouse=True)
def _cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with a thousandth of the memory: what it costs for real is the subject of tests/unit/engine/keys/test_passphrase.py."""
    real = passphrase.stretch

    def stretch(text: bytes, salt: bytes, cost: Cost) -> bytes:
        mixed = hashlib.sha256(salt + repr(cost).encode()).digest()[:16]  # costs that would shrink to the same stay different
        return real(text, mixed, cost._replace(memory=max(cost.memory >> 10, 8 * cost.lanes)))

    monkeypatch.setattr(passphrase, "stretch", stretch)
