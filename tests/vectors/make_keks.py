"""Makes the vectors of every kind of wrap: `python -m tests.vectors.make_keks`. They are data, as those of make_vectors.py.

HPKE envelopes come out otherwise each time (their ephemeral keys are made inside the library); all else is the same again.
"""

from __future__ import annotations

from typing import Any

from recoup.engine.format.envelopes import PrivateKey, seal_hpke
from recoup.engine.format.ids import block_id
from recoup.engine.format.kinds import BlockKind, Codec, Kind
from recoup.engine.format.sealed import ObjectBuilder, Sealing
from recoup.engine.keys.kek import RecipientKek
from recoup.engine.keys.keyring import seal_keyring
from recoup.engine.keys.kms_wrap import join_wrapped
from recoup.engine.keys.passphrase import Cost, PassphraseKek
from recoup.engine.keys.wraps import AWS_KMS, Scope, Wrap
from tests.vectors.make_vectors import HERE, MATERIAL, REPO, SECRET, VAULT, fixed, fixed_random, to_json

PHRASE = "twelve Größen of a passphrase"
COST = Cost(64 << 10, 3, 4)
HYBRID = RecipientKek(PrivateKey(fixed("hybrid"), hybrid=True))
ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SCOPE = Scope(REPO, VAULT, 2, "private")


def passphrase_wrap() -> Wrap:
    with fixed_random("passphrase salt"):
        return PassphraseKek.from_text(PHRASE, COST).wrap(fixed("section key"), SCOPE)


def kms_wrap() -> Wrap:
    """What stands around the service's ciphertext."""
    from recoup.engine.keys.kms import KmsKek

    return Wrap(AWS_KMS, KmsKek.from_text(ARN).id, join_wrapped(ARN, b"the service's ciphertext"))


def keyring() -> bytes:
    """A second generation whose data key is hybrid, wrapped to a secret, a passphrase and a hybrid recipient."""
    with fixed_random("second keyring"):
        phrase = PassphraseKek.from_text(PHRASE, COST)
        return seal_keyring(MATERIAL, MATERIAL.certify(REPO, VAULT, 2, hybrid=True), [SECRET, phrase, HYBRID.recipient])


def hybrid_object() -> bytes:
    """One block, sealed to the hybrid data key."""
    public = PrivateKey(MATERIAL.private, hybrid=True).public
    builder = ObjectBuilder(Sealing(REPO, VAULT, 2, Kind.DATA, fixed("hedge key"), (public,)), 1 << 16)
    builder.add(block_id(fixed("id key"), BlockKind.DATA, b"plain"), BlockKind.DATA, Codec.RAW, 5, b"plain")
    return bytes(builder.close(stored_size=None).data)


def every() -> dict[str, Any]:
    def shown(wrap: Wrap) -> dict[str, Any]:
        return {"type": wrap.type, "id": wrap.id, "wrapped": wrap.wrapped}

    return {
        "section_key": fixed("section key"),
        "scope": {"repo_id": REPO, "vault_id": VAULT, "generation": 2, "section": "private", "context": SCOPE.wrap_context},
        "passphrase": {"text": PHRASE, "wrap": shown(passphrase_wrap())},
        "hybrid": {
            "seed": HYBRID.private.raw,
            "private_text": HYBRID.to_text(),
            "public": HYBRID.private.public,
            "public_text": HYBRID.recipient.to_text(),
            "id": HYBRID.id,
            "hpke": seal_hpke(fixed("section key"), HYBRID.private.public, SCOPE.wrap_context),
        },
        "awsKms": {"arn": ARN, "wrap": shown(kms_wrap()), "encryption_context": SCOPE.words},
        "certificate": MATERIAL.certify(REPO, VAULT, 2, hybrid=True),
        "keyring": keyring(),
        "object": hybrid_object(),
    }


if __name__ == "__main__":
    (HERE / "keks.json").write_text(to_json(every()))
