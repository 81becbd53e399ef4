"""A vault opened with the maintenance role alone: enough to forget, pin and prune, and to open no content (docs/format.md section 2)."""

from __future__ import annotations

from recoup.engine.keys.roles import MaintenanceKeys, VaultIdentity
from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Store
from recoup.errors import KeyUnavailable, NotFound
from recoup.value import Value


class Maintained(Value, frozen=True):
    """A followed log and the keys to tidy it up with."""

    log: Log
    keys: MaintenanceKeys

    @property
    def identity(self) -> VaultIdentity:
        return self.keys.identity


def open_maintained(store: Store, keys: MaintenanceKeys) -> Maintained:
    """Follow the log of the keys' vault from the root key that they name.

    Raises NotFound (NoVault) if the location does not hold the vault; KeyUnavailable (KeysOutdated) if the vault's keys were changed
    since these were handed out, because the records of newer points could not be read, and who can't read all must not decide.
    """
    log = Log(store, keys.identity.vault_id, root_public=keys.identity.root_public, generation=max(keys.index_keys))
    state = log.follow()
    vault = keys.identity.vault_id.hex()
    if not state.next_seq:
        raise NotFound(f"{store.url} holds no vault {vault}", reason="NoVault")
    state.require_identity()
    if missing := sorted(set(state.certificates) - set(keys.meta_keys)):
        raise KeyUnavailable(
            f"the maintenance keys of vault {vault} are older than its keys of generation {missing[-1]}: have them handed out anew "
            "(docs/keys.md), or give a key that opens the vault",
            reason="KeysOutdated",
        )
    return Maintained(log, keys)
