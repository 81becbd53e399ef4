"""What a wrap for an AWS KMS key holds (docs/format.md section 2, type 18). Apart from kms.py, so that listing keys needs no boto3."""

from __future__ import annotations

import re
from typing import Final

from recoup.engine.keys.wraps import BadWrap

ARN: Final = re.compile(r"(arn:aws[a-z-]{0,20}:kms):([a-z0-9-]{3,40}):([0-9]{12}):key/([A-Za-z0-9-]{1,128})")
_MAX_BLOB: Final = 6144


def join_wrapped(arn: str, blob: bytes) -> bytes:
    name = arn.encode("ascii")
    return len(name).to_bytes(2, "big") + name + blob


def split_wrapped(wrapped: bytes) -> tuple[str, bytes]:
    """(ARN, ciphertext). Raises BadWrap."""
    length = int.from_bytes(wrapped[:2], "big")
    arn, blob = wrapped[2 : 2 + length].decode("ascii", "replace"), wrapped[2 + length :]
    if not ARN.fullmatch(arn) or not 0 < len(blob) <= _MAX_BLOB:
        raise BadWrap
    return arn, blob
