"""Keys and fingerprints as text: `<prefix>1<base32>`, with a checksum against typing errors (docs/format.md section 2).

The base32 part is the lower-case RFC 4648 alphabet without padding over payload ‖ first 4 bytes of
SHA-256(prefix ‖ payload).
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from recoup.errors import Invalid

KEK: Final = "recoupsecret"
RECIPIENT_PRIVATE: Final = "recoupprivate"
RECIPIENT: Final = "recouprecipient"
HYBRID_PRIVATE: Final = "recouphybridprivate"
HYBRID_RECIPIENT: Final = "recouphybrid"
FINGERPRINT: Final = "recoupvault"
_LENGTHS: Final = {KEK: 32, RECIPIENT_PRIVATE: 32, RECIPIENT: 32, HYBRID_PRIVATE: 32, HYBRID_RECIPIENT: 1216, FINGERPRINT: 48}


def encode_text(prefix: str, payload: bytes) -> str:
    if len(payload) != _LENGTHS[prefix]:
        raise ValueError(f"a {prefix} has {_LENGTHS[prefix]} bytes")
    body = base64.b32encode(payload + _checksum(prefix, payload)).decode("ascii").rstrip("=").lower()
    return f"{prefix}1{body}"


def decode_text(prefix: str, text: str) -> bytes:
    """Undo `encode_text`. Raises Invalid without repeating the text, which may be a secret."""
    head, separator, body = text.strip().partition("1")
    if head != prefix or not separator:
        raise Invalid(f"not a {prefix}1… text", reason="InvalidKey")
    try:
        data = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except ValueError:
        raise Invalid(f"the {prefix}1… text holds characters that it cannot", reason="InvalidKey") from None
    payload, checksum = data[:-4], data[-4:]
    if len(payload) != _LENGTHS[prefix] or checksum != _checksum(prefix, payload) or encode_text(prefix, payload) != text.strip():
        raise Invalid(f"the {prefix}1… text is incomplete or mistyped: its checksum does not match", reason="InvalidKey")
    return payload


def _checksum(prefix: str, payload: bytes) -> bytes:
    return hashlib.sha256(prefix.encode("ascii") + payload).digest()[:4]


def encode_fingerprint(vault_id: bytes, root_public: bytes) -> str:
    """What is pinned: the vault's id and its root public key."""
    return encode_text(FINGERPRINT, vault_id + root_public)


def decode_fingerprint(text: str) -> tuple[bytes, bytes]:
    """(vault id, root public key) of a pinned fingerprint. Raises Invalid."""
    payload = decode_text(FINGERPRINT, text)
    return payload[:16], payload[16:]
