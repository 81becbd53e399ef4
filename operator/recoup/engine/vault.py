"""Vaults: making them, and opening them with a KEK (docs/format.md section 2).

`provision` makes a vault or, where it exists, opens it; it may run twice, and at the same time in two places. `open_vault` opens
one whose log was followed. Both end in an `Unlocked`: every role, and the log. How a command line chooses: `unlock.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from recoup.engine.descriptor import (
    MAX_DESCRIPTOR_BYTES,
    VaultDescriptor,
    decode_descriptor,
    decode_location,
    encode_descriptor,
    encode_location,
    new_descriptor,
    reference_to,
)
from recoup.engine.format.derive import derive
from recoup.engine.format.envelopes import HPKE_HYBRID
from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.format.names import LOCATION_DESCRIPTOR, VAULTS, descriptor_name, digest_of, keyring_name
from recoup.engine.format.records import MALFORMED, open_record, seal_record
from recoup.engine.keys.keyring import MAX_KEYRING_BYTES, Material, OpenedKeyring, open_keyring, seal_keyring
from recoup.engine.keys.roles import CatalogueKeys, MaintenanceKeys, ReaderGeneration, ReaderKeys, VaultIdentity, WriterKeys
from recoup.engine.keys.signing import SigningKey
from recoup.engine.keys.wraps import Both, Unwrapper, Wrapper
from recoup.engine.log.bodies import DescriptorRef, Init, KeyringRef
from recoup.engine.log.follow import Log, LogRejected
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, KeyUnavailable, NotFound
from recoup.value import Value

SHRED = "Shred"
"""The EVIDENCE that a vault's keys were destroyed (engine/shred.py)."""
_GENERATION = 1
_DESCRIPTOR_TRIES = 16


@dataclass(frozen=True, slots=True)
class Unlocked:
    """A vault opened with a KEK: every role, in memory only."""

    identity: VaultIdentity
    log: Log
    proven: bool
    """A secret KEK opened the keyring, which nobody without that KEK can have made."""
    materials: dict[int, Material] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint

    @property
    def _newest(self) -> tuple[int, Material]:
        generation = max(self.materials)
        return generation, self.materials[generation]

    @property
    def writer(self) -> WriterKeys:
        generation, material = self._newest
        public = self.log.state.certificates[generation].data
        kin = tuple(
            number for number, other in self.materials.items() if number != generation and other.writer_root == material.writer_root
        )
        return WriterKeys(1, self.identity, generation, material.writer_root, public, material.writer, kin)

    @property
    def reader(self) -> ReaderKeys:
        certificates = self.log.state.certificates
        generations = {number: _reader_generation(material, certificates[number].hybrid) for number, material in self.materials.items()}
        return ReaderKeys(self.identity, generations, self._newest[1].verifier)

    @property
    def catalogue(self) -> CatalogueKeys:
        return CatalogueKeys(1, self.identity, self.reader.meta_keys, self._newest[1].run)

    @property
    def maintenance(self) -> MaintenanceKeys:
        index = {number: derive(material.writer_root, b"rcp1/index") for number, material in self.materials.items()}
        return MaintenanceKeys(1, self.identity, self._newest[1].maintenance, index, self.reader.meta_keys)

    @property
    def labels(self) -> dict[str, str]:
        """Whose vault it is, as given when it was made."""
        init = self.log.state.init
        assert init is not None
        return open_labels(self.reader.meta_keys[init.keyring.generation], self.identity, init)

    def descriptor(self) -> VaultDescriptor:
        return read_descriptor(self.log)


class Provisioned(Value, frozen=True):
    """What the keys Job hands out."""

    writer: WriterKeys
    catalogue: CatalogueKeys
    maintenance: MaintenanceKeys
    fingerprint: str
    created: bool
    """False if the vault was there already."""


def ensure_location(store: Store) -> bytes:
    """The location's id; marks the prefix as a location if it is not one yet. Safe to run at the same time in two places."""
    location_id = os.urandom(ID_BYTES)
    if store.create(LOCATION_DESCRIPTOR, encode_location(location_id)):
        return location_id
    return decode_location(store.get(LOCATION_DESCRIPTOR, MAX_DESCRIPTOR_BYTES), store.url).id


def list_vaults(store: Store) -> list[bytes]:
    """Ids of the vaults that the location seems to hold. A hint: a listing proves neither presence nor absence."""
    names = sorted(store.folders(VAULTS))
    return [bytes.fromhex(name) for name in names if len(name) == 2 * ID_BYTES and set(name) <= set("0123456789abcdef")]


def existing_vault(store: Store, pins: Iterable[bytes]) -> bytes | None:
    """One of the pinned vaults that the location seems to hold, if there is one. A hint, as every listing."""
    return next((vault for vault in list_vaults(store) if vault in set(pins)), None)


def provision(
    store: Store,
    keks: Sequence[Both],
    recipients: Sequence[Wrapper],
    *,
    vault_id: bytes,
    labels: dict[str, str],
    pinned_root: bytes | None = None,
) -> Provisioned:
    """Make the vault, or open it if it exists. Idempotent; of two at once one makes it and the other opens what that one made.

    A crash leaves at most objects that nothing names. With `pinned_root` the vault must exist. Raises KeyUnavailable if the
    vault exists and no KEK here opens it, or if it was opened but its root key is neither pinned nor proven by a secret KEK
    (somebody may have planted it).
    """
    location_id = ensure_location(store)
    log = Log(store, vault_id, root_public=pinned_root)
    state = log.follow()
    if pinned_root is not None:
        state.require_identity()  # a vault made now would have another root key than the pinned one
    made = None if state.initialised else _create(log, location_id, [*keks, *recipients], labels)
    unlocked = made or open_vault(log, keks, pinned=pinned_root is not None)
    return Provisioned(unlocked.writer, unlocked.catalogue, unlocked.maintenance, unlocked.fingerprint, created=made is not None)


def open_vault(log: Log, keks: Iterable[Unwrapper], *, pinned: bool) -> Unlocked:
    """Open the keyrings that a followed log names. `pinned` says that the log was followed from a root key known beforehand.

    Raises KeyUnavailable if no KEK opens them, or if the root key is neither pinned nor proven by a secret KEK; Integrity if a
    keyring is not the one that the log names.
    """
    identity = log.state.require_identity()
    at_hand = list(keks)
    if not at_hand:
        raise KeyUnavailable(f"vault {identity.vault_id.hex()} exists already, and only keys that are kept offline open it")
    opened = {generation: open_generation(log, generation, at_hand) for generation in sorted(log.state.keyrings)}
    proven = all(keyring.proven for keyring in opened.values())
    if not pinned and not proven:
        raise KeyUnavailable(
            f"vault {identity.vault_id.hex()} opens with a recovery key, which cannot tell who made it: give its fingerprint",
            reason="FingerprintUnknown",
        )
    return Unlocked(identity, log, proven, {generation: keyring.material for generation, keyring in opened.items()})


def read_descriptor(log: Log) -> VaultDescriptor:
    """The descriptor in force, read from the store and compared with the log. Raises Integrity."""
    ref = log.state.descriptor
    if ref is None:
        raise Integrity("the log names no descriptor", reason="NoVault")
    name = descriptor_name(log.state.vault_id, ref.number)
    return decode_descriptor(log.store.get(name, MAX_DESCRIPTOR_BYTES), ref, name)


def open_labels(meta_key: bytes, identity: VaultIdentity, init: Init) -> dict[str, str]:
    """The labels in INIT. Raises Integrity."""
    plain = open_record(meta_key, _labels_context(identity), init.labels, "the labels of the vault")
    try:
        return msgspec.json.decode(plain, type=dict[str, str])
    except MALFORMED:
        raise Integrity("the labels of the vault are malformed") from None


def _create(log: Log, location_id: bytes, keks: Sequence[Wrapper], labels: dict[str, str]) -> Unlocked | None:
    """Put keyring and descriptor, then INIT, which makes them count. None if somebody else's INIT was first."""
    vault_id = log.state.vault_id
    material = Material.generate()
    certificate = material.certify(location_id, vault_id, _GENERATION, hybrid=wants_hybrid(keks))
    keyring = seal_keyring(material, certificate, keks)
    digest = digest_of(keyring)
    identity = VaultIdentity(location_id, vault_id, SigningKey(material.root).public)
    log.store.create(keyring_name(vault_id, _GENERATION, digest), keyring)
    descriptor = _put_descriptor(log.store, location_id, vault_id, SigningKey(material.run).public)
    sealed = seal_record(derive(material.writer_root, b"rcp1/meta"), _labels_context(identity), msgspec.json.encode(labels))
    body = Init(certificate, KeyringRef(_GENERATION, digest), descriptor, sealed)
    try:
        log.append(body, SigningKey(material.maintenance), init_ids=(location_id, location_id))
    except LogRejected:
        if log.state.initialised:
            return None
        raise
    return Unlocked(identity, log, proven=True, materials={_GENERATION: material})


def wants_hybrid(keks: Iterable[Wrapper]) -> bool:
    """Whether a new data key pair is a hybrid one: a hybrid recipient would protect nothing if content were sealed to less."""
    return any(kek.type == HPKE_HYBRID for kek in keks)


def _put_descriptor(store: Store, repo_id: bytes, vault_id: bytes, run_key: bytes) -> DescriptorRef:
    """Put the first descriptor under the first free number: somebody who lost the race for INIT may have taken one."""
    for number in range(_DESCRIPTOR_TRIES):
        descriptor = new_descriptor(number, repo_id, vault_id, (run_key,))
        if store.create(descriptor_name(vault_id, number), encode_descriptor(descriptor)):
            return reference_to(descriptor)
    raise Integrity(f"the descriptors of vault {vault_id.hex()} are squatted: choose another vault id", reason="LogSquatted")


def read_keyring(log: Log, generation: int) -> tuple[str, bytes]:
    """(name, bytes) of the keyring in force of a generation, as the log names it. Raises Integrity; opens nothing."""
    digest = log.state.keyrings[generation]
    name = keyring_name(log.state.vault_id, generation, digest)
    try:
        data = log.store.get(name, MAX_KEYRING_BYTES)
    except NotFound:
        if any(noted.body.kind == SHRED for noted in log.state.evidence):
            raise KeyUnavailable(
                f"vault {log.state.vault_id.hex()} was shredded: nothing opens it any more", reason="VaultShredded"
            ) from None
        raise Integrity(f"keyring {name} is missing: the log names it, so it was deleted; bring it back from another copy") from None
    if digest_of(data) != digest:
        raise Integrity(f"keyring {name} is damaged: its digest is not the one that the log names")
    return name, data


def open_generation(log: Log, generation: int, keks: Sequence[Unwrapper]) -> OpenedKeyring:
    """Open the keyring in force of a generation. Raises KeyUnavailable, Integrity."""
    name, data = read_keyring(log, generation)
    keyring = open_keyring(data, keks, name)
    if keyring.certificate != log.state.certificates[generation]:
        raise Integrity(f"keyring {name} and the log differ in the vault's public keys")
    return keyring


def _reader_generation(material: Material, hybrid: bool) -> ReaderGeneration:
    root = material.writer_root
    labels = (b"rcp1/id", b"rcp1/index", b"rcp1/meta")
    id_key, index_key, meta_key = (derive(root, label) for label in labels)
    return ReaderGeneration(material.private, id_key, index_key, meta_key, hybrid)


def _labels_context(identity: VaultIdentity) -> bytes:
    return b"labels" + identity.repo_id + identity.vault_id
