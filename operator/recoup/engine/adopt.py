"""Opening a vault that was made elsewhere, only to list its recovery points (docs/format.md section 2).

Reads and never writes: credentials that can only read suffice. What comes out opens catalogue records and nothing else, and signs no run
ticket, so whoever holds it can neither read content nor have backups count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recoup.engine.keys.roles import CatalogueKeys
from recoup.engine.keys.wraps import Unwrapper
from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Store
from recoup.engine.vault import open_vault
from recoup.errors import NotFound


@dataclass(frozen=True)
class Adopted:
    """What lists the recovery points, and whose vault it is, as was said when it was made."""

    catalogue: CatalogueKeys
    fingerprint: str
    labels: dict[str, str]


def adopt_vault(store: Store, vault_id: bytes, keks: Iterable[Unwrapper], *, pinned_root: bytes | None = None) -> Adopted:
    """Open the vault at this location, be it its home or a copy.

    Without `pinned_root` only a secret KEK will do, which proves that nobody without it made the vault. Raises NotFound if there is no
    vault, KeyUnavailable if no KEK opens it, Integrity if it leads to another root key or is damaged.
    """
    log = Log(store, vault_id, root_public=pinned_root)
    if not log.follow().next_seq:
        raise NotFound(f"{store.url} holds no vault {vault_id.hex()}", reason="NoVault")
    unlocked = open_vault(log, keks, pinned=pinned_root is not None)
    keys = CatalogueKeys(1, unlocked.identity, unlocked.reader.meta_keys, b"")
    return Adopted(keys, unlocked.fingerprint, unlocked.labels)
