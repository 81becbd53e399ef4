"""What each role holds, and no more (docs/format.md section 2, the table of roles).

Frozen structs. Those that leave the keys Job as Secrets (writer, catalogue, maintenance) can be saved to and loaded from a directory of
files; the rest exist in memory only. How they come out of a keyring: `keyring.py` and `engine/vault.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

import msgspec

from recoup.engine.format.derive import derive, hedge_key_of
from recoup.engine.format.envelopes import PrivateKey
from recoup.engine.format.kinds import Kind
from recoup.engine.format.reader import Opening, WrappingKey
from recoup.engine.format.records import MALFORMED
from recoup.engine.format.sealed import Sealing
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.text import encode_fingerprint
from recoup.errors import Invalid, KeyUnavailable, NotFound

_VERSION: Final = 1


class VaultIdentity(msgspec.Struct, frozen=True):
    """Which vault, where its home is, and the root key that everything in it must lead to. No secret."""

    repo_id: bytes
    vault_id: bytes
    root_public: bytes

    @property
    def fingerprint(self) -> str:
        return encode_fingerprint(self.vault_id, self.root_public)


class SavedKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of a role that are handed over as one file of a Secret."""

    version: int
    identity: VaultIdentity

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.identity.vault_id.hex()})"

    @classmethod
    def file_name(cls) -> str:
        """`writer.json`, `catalogue.json`, `maintenance.json`: the file's name, which is the Secret's data key."""
        return cls.__name__.removesuffix("Keys").lower() + ".json"

    def to_files(self) -> dict[str, bytes]:
        """The Secret's data: one file of JSON, binary fields in base64."""
        return {self.file_name(): msgspec.json.encode(self)}

    def save(self, directory: str | Path) -> None:
        """Write the file with mode 0600 into `directory`, replacing what is there."""
        for name, data in self.to_files().items():
            path = Path(directory, name)
            path.touch(mode=0o600)
            path.write_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes, origin: str) -> Self:
        """Decode the file's content. Raises Invalid naming `origin`, never the content."""
        try:
            keys = msgspec.json.decode(data, type=cls)
        except MALFORMED:
            raise Invalid(f"{origin} does not hold the keys of this role", reason="InvalidKey") from None
        if keys.version != _VERSION:
            raise Invalid(f"{origin} has version {keys.version}, this program knows {_VERSION}: update it", reason="InvalidKey")
        return keys

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote, or a mounted Secret. Raises NotFound, Invalid."""
        path = Path(directory, cls.file_name())
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{path} is missing: the directory does not hold the keys of this role", reason="KeyNotFound") from None
        except OSError as error:
            raise Invalid(f"{path} cannot be read: {error.strerror}", reason="KeyUnreadable") from None
        return cls.from_bytes(data, str(path))


class WriterKeys(SavedKeys, frozen=True, forbid_unknown_fields=True):
    """A backup mover: seals new content, reads index, refs and its own caches, opens no content, lists no catalogue of others."""

    generation: int
    root_key: bytes
    """K_w, from which everything symmetric of the writer is derived."""
    data_public: bytes
    writer_private: bytes
    kin: tuple[int, ...] = ()
    """Earlier generations of the same K_w: their ids, index and caches are as good as one's own."""

    def builds_on(self, generation: int) -> bool:
        """Whether what was stored in that generation can be found again and referred to."""
        return generation == self.generation or generation in self.kin

    @property
    def id_key(self) -> bytes:
        return derive(self.root_key, b"rcp1/id")

    @property
    def index_key(self) -> bytes:
        return derive(self.root_key, b"rcp1/index")

    @property
    def cache_key(self) -> bytes:
        return derive(self.root_key, b"rcp1/cache")

    @property
    def meta_key(self) -> bytes:
        return derive(self.root_key, b"rcp1/meta")

    @property
    def gear_seed(self) -> bytes:
        """Seeds the chunker's gear table: 32 bytes."""
        return derive(self.root_key, b"rcp1/gear")

    @property
    def path_key(self) -> bytes:
        """Keys the path hashes of lineage caches."""
        return derive(self.root_key, b"rcp1/path")

    @property
    def signer(self) -> SigningKey:
        return SigningKey(self.writer_private)

    def sealing(self, kind: Kind) -> Sealing:
        """How this writer seals objects of `kind`."""
        identity = self.identity
        if kind.readable_by_writer:
            key = self.cache_key if kind is Kind.CACHE else self.index_key
            return Sealing(identity.repo_id, identity.vault_id, self.generation, kind, hedge_key_of(key), wrapping_key=key)
        hedge = derive(self.root_key, b"rcp1/hedge")
        return Sealing(identity.repo_id, identity.vault_id, self.generation, kind, hedge, recipients=(self.data_public,))

    def opening(self, kind: Kind) -> Opening:
        """Opens index, refs and caches of this generation. For other kinds it has no key: reading raises KeyUnavailable."""
        keys = {Kind.INDEX: self.index_key, Kind.REFS: self.index_key, Kind.CACHE: self.cache_key}
        wrapping = (WrappingKey(keys[kind]),) if kind in keys else ()
        return Opening(self.identity.repo_id, self.identity.vault_id, kind, wrapping_keys=wrapping)


class CatalogueKeys(SavedKeys, frozen=True, forbid_unknown_fields=True):
    """The controller: lists recovery points and signs run tickets; opens no content."""

    meta_keys: dict[int, bytes]
    """K_meta by generation."""
    run_private: bytes

    """Empty where the vault was made elsewhere: no run of this cluster counts for it."""

    @property
    def run_signer(self) -> SigningKey:
        if not self.run_private:
            raise KeyUnavailable(f"vault {self.identity.vault_id.hex()} was made elsewhere: the key that signs its run tickets is not here")
        return SigningKey(self.run_private)


class ReaderGeneration(msgspec.Struct, frozen=True):
    """What opens the content of one generation."""

    data_private: bytes
    id_key: bytes
    index_key: bytes
    meta_key: bytes
    hybrid: bool = False
    """Of which kind the data key pair is."""

    def __repr__(self) -> str:
        return "ReaderGeneration(…)"


class ReaderKeys(msgspec.Struct, frozen=True):
    """Restore and verification: opens everything but lineage caches, of every generation. In memory only."""

    identity: VaultIdentity
    generations: dict[int, ReaderGeneration]
    verifier_private: bytes

    def __repr__(self) -> str:
        return f"ReaderKeys({self.identity.vault_id.hex()}, generations {sorted(self.generations)})"

    @property
    def meta_keys(self) -> dict[int, bytes]:
        return {number: keys.meta_key for number, keys in self.generations.items()}

    @property
    def signer(self) -> SigningKey:
        """Signs ATTEST and DAMAGED."""
        return SigningKey(self.verifier_private)

    def id_key(self, generation: int) -> bytes:
        """K_id of a generation (an object's header names it). Raises KeyUnavailable."""
        keys = self.generations.get(generation)
        if keys is None:
            raise KeyUnavailable(f"no keyring of generation {generation} of vault {self.identity.vault_id.hex()} was opened")
        return keys.id_key

    def opening(self, kind: Kind) -> Opening:
        """Opens objects of `kind` of every generation; the envelope names the key."""
        private: tuple[PrivateKey, ...] = ()
        wrapping: tuple[WrappingKey, ...] = ()
        if kind in {Kind.INDEX, Kind.REFS}:
            wrapping = tuple(WrappingKey(keys.index_key) for keys in self.generations.values())
        elif not kind.readable_by_writer:
            private = tuple(PrivateKey(keys.data_private, keys.hybrid) for keys in self.generations.values())
        return Opening(self.identity.repo_id, self.identity.vault_id, kind, private, wrapping)


class MaintenanceKeys(SavedKeys, frozen=True, forbid_unknown_fields=True):
    """Forget, pin, sweep: index and catalogue of every generation, the maintenance key; no content key."""

    maintenance_private: bytes
    index_keys: dict[int, bytes]
    meta_keys: dict[int, bytes]

    @property
    def signer(self) -> SigningKey:
        return SigningKey(self.maintenance_private)
