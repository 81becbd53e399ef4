"""Copying what a vault needs besides recovery points: keyrings and descriptors. Small, few, and named by the log.

Neither has incarnations: what stands under their names with other bytes was planted or damaged, and is said.
"""

from __future__ import annotations

from collections.abc import Iterable

from recoup.engine.descriptor import MAX_DESCRIPTOR_BYTES
from recoup.engine.format.names import descriptor_name, digest_of, keyring_name
from recoup.engine.keys.keyring import MAX_KEYRING_BYTES
from recoup.engine.log.bodies import DescriptorRef, KeyringRef
from recoup.engine.log.facts import Facts
from recoup.engine.stores.base import Store
from recoup.errors import Integrity, NotFound


def copy_keyrings(source: Store, target: Store, theirs: Facts, keyrings: Iterable[KeyringRef]) -> None:
    """Copy keyring objects. One that is not in force any more may be gone at the source."""
    for ref in keyrings:
        in_force = theirs.keyrings.get(ref.generation) == ref.digest
        copy_named(source, target, keyring_name(theirs.vault_id, ref.generation, ref.digest), ref.digest, MAX_KEYRING_BYTES, in_force)


def copy_descriptor(source: Store, target: Store, theirs: Facts, ref: DescriptorRef) -> None:
    """Copy a vault descriptor. One that is not in force any more may be gone at the source."""
    in_force = theirs.descriptor is not None and theirs.descriptor.digest == ref.digest
    copy_named(source, target, descriptor_name(theirs.vault_id, ref.number), ref.digest, MAX_DESCRIPTOR_BYTES, in_force)


def copy_named(source: Store, target: Store, name: str, digest: bytes, limit: int, needed: bool) -> None:
    """Copy one object whose digest the log names. Raises Integrity if it cannot be had, or something else stands in its place."""
    try:
        data = source.get(name, limit)
    except NotFound as error:
        if needed:
            raise Integrity(f"{name} is missing at {source.url}, though its log names it", reason="ObjectMissing") from error
        return
    if digest_of(data) != digest:
        if needed:
            raise Integrity(f"{name} at {source.url} is not the one that its log names", reason="DigestMismatch")
        return
    if not target.create(name, data) and digest_of(target.get(name, limit)) != digest:
        raise Integrity(
            f"{name} at {target.url} is another object than the vault's: it was planted or damaged; delete it and run again",
            reason="LocationSquatted",
        )
