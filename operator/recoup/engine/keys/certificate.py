"""The root key's statement of which public keys speak for a vault in one generation (docs/format.md section 2).

It stands in INIT, KEYGEN and the keyring, so that a log can be validated from the pinned fingerprint alone, without a GET.
"""

from __future__ import annotations

import msgspec

from recoup.engine.format.envelopes import HYBRID_BYTES, is_public_key
from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.format.records import decode_record, encode_record
from recoup.engine.keys.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SigningKey, verify
from recoup.errors import Integrity

_PURPOSE = b"rcp1/certificate"
_GENERATIONS = 1 << 32


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Public keys of one generation. Trusted only after `verify_certificate` and comparison with a pinned root."""

    repo_id: bytes
    vault_id: bytes
    generation: int
    root: bytes
    data: bytes
    """X25519 or hybrid, as its length says: new content is sealed to it."""
    writer: bytes
    maintenance: bytes
    verifier: bytes

    @property
    def hybrid(self) -> bool:
        """Whether the data key pair is a hybrid one."""
        return len(self.data) == HYBRID_BYTES


def sign_certificate(certificate: Certificate, root: SigningKey) -> bytes:
    """The certificate's record followed by the root key's signature."""
    record = encode_record(certificate)
    return record + root.sign(_PURPOSE, record)


def verify_certificate(data: bytes, name: str) -> Certificate:
    """Decode a certificate and check that the root key that it names signed it. Raises Integrity."""
    record, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    certificate = decode_record(record, Certificate, name)
    keys = (certificate.root, certificate.writer, certificate.maintenance, certificate.verifier)
    sizes = all(len(key) == PUBLIC_KEY_BYTES for key in keys) and is_public_key(certificate.data)
    if not sizes or {len(certificate.repo_id), len(certificate.vault_id)} != {ID_BYTES}:
        raise Integrity(f"{name} is damaged or forged: length of a key or id")
    if not 1 <= certificate.generation < _GENERATIONS or not verify(certificate.root, _PURPOSE, record, signature):
        raise Integrity(f"{name} is not signed by the root key that it names")
    return certificate
