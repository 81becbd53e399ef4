"""Sealed objects and sealed records, read as docs/format.md section 3 says and in no other way."""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Unreadable(Exception):
    """No key at hand, or bytes that are not right."""


def h512(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha512).digest()


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    return h512(prk, info + b"\x01")[:length]


def derive(key: bytes, label: bytes, length: int = 32) -> bytes:
    return expand(h512(bytes(64), key), label, length)


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def hybrid_of(seed: bytes) -> tuple[MLKEM768X25519PrivateKey, bytes]:
    """A hybrid key pair: the private half parsed, the public half as bytes."""
    seeds = hashlib.shake_256(seed).digest(96)
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(seeds[:64]), X25519PrivateKey.from_private_bytes(seeds[64:])
    return MLKEM768X25519PrivateKey(lattice, curve), lattice.public_key().public_bytes_raw() + public_of(seeds[64:])


def open_hpke(private: bytes, payload: bytes, info: bytes) -> bytes:
    hybrid = len(payload) == 1168
    suite = Suite(KEM.MLKEM768_X25519 if hybrid else KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    try:
        return suite.decrypt(payload, hybrid_of(private)[0] if hybrid else X25519PrivateKey.from_private_bytes(private), info)
    except InvalidTag:
        raise Unreadable("HPKE") from None


def unwrap_kwp(key: bytes, payload: bytes) -> bytes:
    try:
        return aes_key_unwrap_with_padding(key, payload)
    except InvalidUnwrap:
        raise Unreadable("AES-KWP") from None


@dataclass(frozen=True)
class Keys:
    """What may open envelopes, each under its recipient id."""

    private: dict[bytes, bytes]
    wrapping: dict[bytes, bytes]

    @classmethod
    def of(cls, private: list[bytes], wrapping: list[bytes]) -> Keys:
        return cls(
            {derive(public, b"rcp1/recipient", 16): key for key in private for public in (public_of(key), hybrid_of(key)[1])},
            {derive(key, b"rcp1/wrapping", 16): key for key in wrapping},
        )


@dataclass(frozen=True)
class Block:
    id: bytes
    kind: int
    plain: bytes


@dataclass(frozen=True)
class SealedObject:
    kind: int
    generation: int
    blocks: list[Block]
    """The padding block left out."""


def read_object(data: bytes, keys: Keys) -> SealedObject:
    """Open a whole object. Raises Unreadable."""
    if len(data) < 168:
        raise Unreadable("shorter than header and trailer")
    footer_length, header_length, footer_at, end = struct.unpack(">IIQ8s", data[-24:])
    head = struct.unpack(">4sHH16s16s16sIBBH32s32sI12s", data[:144])
    magic, version, suite, repo, vault, ident, generation, kind, flags, recipients, hedge, commitment, envelope_bytes, zero = head
    if (magic, version, suite, flags, zero, end) != (b"RCP1", 1, 1, 0, bytes(12), b"RCP1END\n"):
        raise Unreadable("header or trailer")
    if header_length != 144 + envelope_bytes or footer_at + footer_length + 24 != len(data):
        raise Unreadable("lengths")
    ctx = b"rcp1/obj" + struct.pack(">HB", suite, kind) + repo + vault + ident + struct.pack(">I", generation)
    seed = _seed(data[144:header_length], recipients, keys, ctx)
    prk = h512(hedge, seed)
    if expand(prk, ctx + b"commit", 32) != commitment:
        raise Unreadable("commitment")
    aad = hashlib.sha256(data[:header_length]).digest()
    table = _decrypt(expand(prk, ctx + b"footer", 44), data[footer_at : footer_at + footer_length], aad + b"\xff" * 4)
    (count,) = struct.unpack_from(">I", table)
    blocks = []
    for number in range(count):
        row = struct.unpack_from(">32sBBHIII", table, 4 + 48 * number)
        cipher = data[row[4] : row[4] + row[5]]
        material = expand(prk, ctx + b"block" + struct.pack(">I", number), 44)
        frame = _decrypt(material, cipher, aad + struct.pack(">I", number))
        blocks.append(_block(frame, row))
    return SealedObject(kind, generation, blocks[:-1])


def _seed(envelopes: bytes, count: int, keys: Keys, ctx: bytes) -> bytes:
    at = 0
    for _ in range(count):
        type_, _, length, recipient = struct.unpack_from(">BBH16s", envelopes, at)
        payload = envelopes[at + 20 : at + 20 + length]
        at += 20 + length
        if type_ in {1, 2} and recipient in keys.private:
            return open_hpke(keys.private[recipient], payload, ctx)
        if type_ == 16 and recipient in keys.wrapping:
            return unwrap_kwp(keys.wrapping[recipient], payload)
    raise Unreadable("no key for any envelope")


def _decrypt(material: bytes, cipher: bytes, aad: bytes) -> bytes:
    try:
        return AESGCM(material[:32]).decrypt(material[32:], cipher, aad)
    except InvalidTag:
        raise Unreadable("authentication") from None


def _block(frame: bytes, row: tuple[bytes, int, int, int, int, int, int]) -> Block:
    codec, kind, flags, length = struct.unpack_from(">BBHI", frame)
    if (kind, codec, length, flags) != (row[1], row[2], row[6], 0):
        raise Unreadable("frame and table differ")
    payload = frame[8:]
    plain = payload if codec == 0 else zstandard.ZstdDecompressor().decompress(payload)
    if len(plain) != length:
        raise Unreadable("plain length")
    return Block(row[0], kind, plain)


def block_id(id_key: bytes, kind: int, plain: bytes) -> bytes:
    return blake3(bytes([kind]) + plain, key=id_key).digest()


def read_record(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """Open a sealed record."""
    prk = h512(sealed[:32], key)
    label = b"rcp1/record" + context
    if sealed[32:64] != expand(prk, label + b"commit", 32):
        raise Unreadable("record commitment")
    material = expand(prk, label + b"key", 44)
    try:
        padded = AESGCM(material[:32]).decrypt(material[32:], sealed[64:], None)
    except InvalidTag:
        raise Unreadable("record") from None
    return padded[4 : 4 + int.from_bytes(padded[:4], "big")]
