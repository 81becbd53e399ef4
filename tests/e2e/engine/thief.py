"""What somebody learns who took everything that a mover has, and may read the whole bucket as well.

Looks for keys in every byte that was taken, at any place where a program keeps them, by what they would open; then opens
with the stranger's reader whatever those keys open, and gives back every plaintext.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.msgpack import decode as unpack

from tests.stranger.container import Keys, Unreadable, derive, read_object
from tests.stranger.vault import open_keyring

KEY = 32
_STEP = 8
_PAGE = 4096
_DISTINCT = 23
"""32 random bytes have fewer distinct ones in about one of 100,000 cases; text and program data nearly always have."""
_TEXT = re.compile(rb"[A-Za-z0-9+/=_-]{40,100}|[0-9a-f]{64}")
_KEK_TEXT = re.compile(rb"recoup(?:secret|private|hybridprivate)1[a-z2-7]{50,70}")
_LABELS = (b"rcp1/index", b"rcp1/cache")


@dataclass
class Loot:
    """What was found. `plaintexts` are the blocks of every object that opened, by the object's name."""

    keys: dict[bytes, bytes] = field(default_factory=dict)
    """Key by the recipient id that it opens."""
    plaintexts: dict[str, list[bytes]] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    candidates: int = 0

    def shows(self, canary: bytes) -> list[str]:
        """Names of objects whose plaintext holds the canary."""
        return [name for name, blocks in self.plaintexts.items() if any(canary in block for block in blocks)]


def steal(taken: Iterable[bytes], bucket: dict[str, bytes]) -> Loot:
    """Try everything that was taken on every object of the bucket."""
    parts = list(taken)
    loot = Loot()
    wanted = _wanted(bucket)
    private: list[bytes] = []
    wrapping: list[bytes] = []
    for candidate in _candidates(parts):
        loot.candidates += 1
        for ident, key, secret in _openers(candidate):
            if ident in wanted:
                loot.keys[ident] = key
                (private if secret else wrapping).append(key)
    for secrets in _from_keyrings(parts, bucket):
        private.append(secrets["private"])
        wrapping += [derive(secrets["writer_root"], label) for label in _LABELS]
    keys = Keys(private, wrapping)
    for name, data in bucket.items():
        if data[:4] != b"RCP1":
            continue
        try:
            loot.plaintexts[name] = [block.plain for block in read_object(data, keys)]
        except (Unreadable, InvalidTag, InvalidUnwrap):
            loot.closed.append(name)
    return loot


def _wanted(bucket: dict[str, bytes]) -> set[bytes]:
    """Recipient ids that stand in any envelope, and in any wrap of a keyring."""
    wanted: set[bytes] = set()
    for name, data in bucket.items():
        if data[:4] == b"RCP1":
            (count,) = struct.unpack_from(">H", data, 62)
            at = 144
            for _ in range(count):
                _, _, length, recipient = struct.unpack_from(">BBH16s", data, at)
                wanted.add(recipient)
                at += 20 + length
        elif "/keyring/" in name:
            wanted |= {wrap["id"] for section in unpack(data[12:-64])["sections"] for wrap in section["wraps"]}
    return wanted


def _openers(candidate: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """(recipient id, key, whether it is a private key) for everything that 32 bytes may be."""
    public = X25519PrivateKey.from_private_bytes(candidate).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    yield derive(public, b"rcp1/recipient", 16), candidate, True
    yield derive(candidate, b"rcp1/wrapping", 16), candidate, False
    yield derive(candidate, b"rcp1/kek-id", 16), candidate, False
    for label in _LABELS:
        key = derive(candidate, label)
        yield derive(key, b"rcp1/wrapping", 16), key, False


def _from_keyrings(parts: list[bytes], bucket: dict[str, bytes]) -> list[dict[str, bytes]]:
    """The secrets of keyrings that a KEK among the taken texts opens."""
    texts = {match.group().decode() for part in parts for match in _KEK_TEXT.finditer(part)}
    found = []
    for data in (data for name, data in bucket.items() if "/keyring/" in name):
        for text in texts:
            try:
                found.append(open_keyring(data, text))
            except (Unreadable, InvalidTag, InvalidUnwrap, ValueError):
                continue
    return found


def _candidates(parts: list[bytes]) -> set[bytes]:
    """Every 32 bytes that look random: raw at each place where memory is aligned, and whatever text may encode."""
    found: set[bytes] = set()
    for text in {text for part in parts for text in _TEXT.findall(part)}:
        found |= {data[at : at + KEY] for data in _decoded(text) for at in range(len(data) - KEY + 1)}
    for page in _pages(parts):
        for at in range(0, len(page) - KEY + 1, _STEP):
            if page[at] or page[at + 1]:
                found.add(page[at : at + KEY])
    return {window for window in found if len(set(window)) >= _DISTINCT}


def _pages(parts: list[bytes]) -> set[bytes]:
    """Different pages, each with the beginning of the next: the second dump of a process is mostly the first one again."""
    pages = {part[at : at + _PAGE + KEY - _STEP] for part in parts for at in range(0, len(part), _PAGE)}
    return {page for page in pages if page.count(0) < len(page)}


def _decoded(text: bytes) -> Iterator[bytes]:
    for decode in (bytes.fromhex, lambda t: base64.b64decode(t + "=" * (-len(t) % 4), altchars="-_" if set("-_") & set(t) else None)):
        try:
            yield decode(text.decode("ascii"))
        except (ValueError, binascii.Error):
            continue
