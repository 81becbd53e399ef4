"""Sealed objects and sealed records, read as docs/format.md section 3 says and in no other way."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import NamedTuple

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding


class Unreadable(Exception):
    """No key at hand, or bytes that are not what they should be."""


def h512(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha512")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    return h512(prk, info + b"\x01")[:length]


def derive(key: bytes, label: bytes, length: int = 32) -> bytes:
    return expand(h512(bytes(64), key), label, length)


def key_pairs(private: bytes) -> dict[bytes, X25519PrivateKey | MLKEM768X25519PrivateKey]:
    """What 32 bytes are as private half of either kind, each under the recipient id of its public half."""
    seeds = hashlib.shake_256(private).digest(96)
    lattice, curve = MLKEM768PrivateKey.from_seed_bytes(seeds[:64]), X25519PrivateKey.from_private_bytes(seeds[64:])
    plain = X25519PrivateKey.from_private_bytes(private)
    hybrid = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return {
        derive(plain.public_key().public_bytes_raw(), b"rcp1/recipient", 16): plain,
        derive(hybrid, b"rcp1/recipient", 16): MLKEM768X25519PrivateKey(lattice, curve),
    }


def open_hpke(key: X25519PrivateKey | MLKEM768X25519PrivateKey, payload: bytes, info: bytes) -> bytes:
    kem = KEM.X25519 if isinstance(key, X25519PrivateKey) else KEM.MLKEM768_X25519
    return Suite(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM).decrypt(payload, key, info)


def open_gcm(material: bytes, cipher: bytes, aad: bytes | None) -> bytes:
    return AESGCM(material[:32]).decrypt(material[32:], cipher, aad)


class Keys:
    """What may open envelopes, each under its recipient id."""

    def __init__(self, private: list[bytes], wrapping: list[bytes]) -> None:
        self.private = {ident: key for half in private for ident, key in key_pairs(half).items()}
        self.wrapping = {derive(key, b"rcp1/wrapping", 16): key for key in wrapping}

    def seed(self, envelopes: bytes, count: int, ctx: bytes) -> bytes:
        at = 0
        for _ in range(count):
            type_, _, length, recipient = struct.unpack_from(">BBH16s", envelopes, at)
            payload = envelopes[at + 20 : at + 20 + length]
            at += 20 + length
            if type_ in {1, 2} and recipient in self.private:
                return open_hpke(self.private[recipient], payload, ctx)
            if type_ == 16 and recipient in self.wrapping:
                return aes_key_unwrap_with_padding(self.wrapping[recipient], payload)
        raise Unreadable("no key for any envelope")


class Block(NamedTuple):
    id: bytes
    kind: int
    plain: bytes


def read_object(data: bytes, keys: Keys) -> list[Block]:
    """Every block of an object but the padding. Raises Unreadable, or what the ciphers raise."""
    footer_length, header_length, footer_at, end = struct.unpack(">IIQ8s", data[-24:])
    head = struct.unpack_from(">4sHH16s16s16sIBBH32s32sI12s", data)
    magic, version, suite, repo, vault, ident, generation, kind, flags, recipients, hedge, commitment, envelope_bytes, zero = head
    if (magic, version, suite, flags, zero, end) != (b"RCP1", 1, 1, 0, bytes(12), b"RCP1END\n"):
        raise Unreadable("header or trailer")
    if header_length != 144 + envelope_bytes or footer_at + footer_length + 24 != len(data):
        raise Unreadable("lengths")
    ctx = b"rcp1/obj" + struct.pack(">HB", suite, kind) + repo + vault + ident + struct.pack(">I", generation)
    prk = h512(hedge, keys.seed(data[144:header_length], recipients, ctx))
    if expand(prk, ctx + b"commit", 32) != commitment:
        raise Unreadable("commitment")
    aad = hashlib.sha256(data[:header_length]).digest()
    table = open_gcm(expand(prk, ctx + b"footer", 44), data[footer_at:-24], aad + b"\xff" * 4)
    blocks = []
    for number in range(int.from_bytes(table[:4], "big")):
        name, *facts, at, length, size = struct.unpack_from(">32sBBHIII", table, 4 + 48 * number)
        place = struct.pack(">I", number)
        frame = open_gcm(expand(prk, ctx + b"block" + place, 44), data[at : at + length], aad + place)
        codec, block_kind, zeros, plain_length = struct.unpack_from(">BBHI", frame)
        plain = zstandard.ZstdDecompressor().decompress(frame[8:]) if codec else frame[8:]
        if [block_kind, codec, zeros, plain_length, len(plain)] != [*facts, size, size]:
            raise Unreadable("frame and table differ")
        blocks.append(Block(name, block_kind, plain))
    return blocks[:-1]


def block_id(id_key: bytes, kind: int, plain: bytes) -> bytes:
    return blake3(bytes([kind]) + plain, key=id_key).digest()


def read_record(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """Open a sealed record."""
    prk, label = h512(sealed[:32], key), b"rcp1/record" + context
    if sealed[32:64] != expand(prk, label + b"commit", 32):
        raise Unreadable("record commitment")
    padded = open_gcm(expand(prk, label + b"key", 44), sealed[64:], None)
    return padded[4 : 4 + int.from_bytes(padded[:4], "big")]
