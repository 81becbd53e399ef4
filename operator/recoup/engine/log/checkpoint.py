"""Checkpoints: what the maintenance key says a log adds up to, so that readers need not begin at entry 0 (docs/format.md section 6).

Pure: bytes, signature, and what makes one believable. What the parts of a state hold is in `summary.py`; finding one in `jump.py`.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from recoup.engine.format.kinds import DIGEST_BYTES, FORMAT_VERSION
from recoup.engine.format.records import decode_record, encode_record
from recoup.engine.keys.certificate import Certificate, verify_certificate
from recoup.engine.keys.signing import SIGNATURE_BYTES, SigningKey, verify
from recoup.errors import Integrity

EVERY: Final = 128
"""Checkpoints stand at multiples of this seq."""
MAX_CHECKPOINT_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct(">4sHH")
_MAGIC: Final = b"RCPC"
_PURPOSE: Final = b"rcp1/checkpoint"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One object that holds rows of the state."""

    digest: bytes
    """What the object is named by."""
    content: bytes
    """BLAKE3-256 of its rows: the same in every reader's computation, while each object has a nonce of its own."""


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the entries before `seq` say, at one location."""

    repo_id: bytes
    vault_id: bytes
    location_id: bytes
    seq: int
    """The first entry that is not in it."""
    head: int
    """Seq of the last valid entry before."""
    previous: bytes
    """Digest of that entry."""
    certificate: bytes
    """Of the newest generation, as the root key signed it: its maintenance key signs this."""
    parts: tuple[Part, ...]


def encode_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """Sign and encode. Raises ValueError if it would be longer than the format allows."""
    signed = _HEAD.pack(_MAGIC, FORMAT_VERSION, 0) + encode_record(checkpoint)
    if len(signed) + SIGNATURE_BYTES > MAX_CHECKPOINT_BYTES:
        raise ValueError(f"a checkpoint of {len(signed)} bytes is longer than {MAX_CHECKPOINT_BYTES}")
    return signed + key.sign(_PURPOSE, signed)


def decode_checkpoint(data: bytes, name: str, root: bytes) -> tuple[Checkpoint, Certificate]:
    """The checkpoint and who signed it. Raises Integrity unless the maintenance key of a certificate by `root` did."""
    signed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if len(data) > MAX_CHECKPOINT_BYTES or signed[: _HEAD.size] != _HEAD.pack(_MAGIC, FORMAT_VERSION, 0):
        raise Integrity(f"checkpoint {name} is damaged or forged: magic or version")
    checkpoint = decode_record(signed[_HEAD.size :], Checkpoint, f"checkpoint {name}")
    certificate = verify_certificate(checkpoint.certificate, f"the certificate in checkpoint {name}")
    if certificate.root != root or not verify(certificate.maintenance, _PURPOSE, signed, signature):
        raise Integrity(f"checkpoint {name} is not signed by a maintenance key of this vault")
    if (certificate.repo_id, certificate.vault_id) != (checkpoint.repo_id, checkpoint.vault_id):
        raise Integrity(f"checkpoint {name} is of another vault")
    if not 0 <= checkpoint.head < checkpoint.seq or checkpoint.seq % EVERY or not checkpoint.seq:
        raise Integrity(f"checkpoint {name} stands where none can")
    digests = [checkpoint.previous, *(digest for part in checkpoint.parts for digest in (part.digest, part.content))]
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise Integrity(f"checkpoint {name} is malformed")
    return checkpoint, certificate
