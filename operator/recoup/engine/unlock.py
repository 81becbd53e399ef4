"""From the keys given to an opened vault: the command line's choice of vault and root key (docs/format.md section 2).

Without a pinned fingerprint nothing is opened unless a person says so: a bucket may hold a vault that somebody planted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.keys.given import Given, read_keys
from recoup.engine.keys.keyfile import KeyFile
from recoup.engine.keys.text import decode_fingerprint
from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked, list_vaults, open_vault
from recoup.errors import Invalid, KeyUnavailable, NotFound, Usage


def unlock(
    store: Store,
    keys: Given | Sequence[str | Path],
    *,
    vault: str | None = None,
    fingerprint: str | None = None,
    trust_new: bool = False,
) -> Unlocked:
    """Open the vault that is meant: the one named, else the one that fingerprint or key files pin, else the only one.

    `keys` are what a command was given, or just key files. The log has been followed on return. Raises Usage if it is not clear
    which vault is meant, NotFound if there is none, KeyUnavailable if no key opens it or its root key is not known beforehand,
    Integrity if it leads to another root key.
    """
    given = keys if isinstance(keys, Given) else read_keys(keys)
    log = find_vault(store, given.files, vault=vault, fingerprint=fingerprint)
    if log.state.pinned_root is None and not trust_new:
        raise KeyUnavailable(
            f"the fingerprint of vault {log.state.vault_id.hex()} is not known: give --fingerprint as `recoup init` printed it or the "
            "location's status shows it; --trust-new accepts what the location says, if you are sure that nobody planted it",
            reason="FingerprintUnknown",
        )
    return open_vault(log, given.opening, pinned=True)


def find_vault(store: Store, files: Sequence[KeyFile], *, vault: str | None = None, fingerprint: str | None = None) -> Log:
    """The followed log of the vault that is meant, nothing opened. Its `pinned_root` is None if no fingerprint is known.

    Raises Usage, NotFound and Integrity as `unlock` does.
    """
    pins = _pins(files, fingerprint)
    vault_id = _choose(store, pins, vault, fingerprint)
    log = Log(store, vault_id, root_public=pins.get(vault_id))
    if not log.follow().next_seq:
        raise NotFound(f"{store.url} holds no vault {vault_id.hex()}{_others(store)}", reason="NoVault")
    log.state.require_identity()
    return log


def _pins(files: Sequence[KeyFile], fingerprint: str | None) -> dict[bytes, bytes]:
    pins: dict[bytes, bytes] = {}
    found = [(str(file.path), vault, root) for file in files for vault, root in file.pins.items()]
    if fingerprint is not None:
        found.append(("--fingerprint", *decode_fingerprint(fingerprint)))
    for origin, vault, root in found:
        if pins.setdefault(vault, root) != root:
            raise Invalid(f"{origin} names another root key for vault {vault.hex()} than the keys given before it", reason="RootMismatch")
    return pins


def _choose(store: Store, pins: dict[bytes, bytes], vault: str | None, fingerprint: str | None) -> bytes:
    if vault is not None:
        return parse_vault(vault)
    if fingerprint is not None:
        return decode_fingerprint(fingerprint)[0]
    if len(pins) == 1:
        return next(iter(pins))
    present = list_vaults(store)
    candidates = [candidate for candidate in present if candidate in pins] or present
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise NotFound(f"{store.url} holds no vault; make one with: recoup init --location {store.url} --key-file FILE", reason="NoVault")
    listed = ", ".join(candidate.hex() for candidate in candidates)
    raise Usage(f"{store.url} holds {len(candidates)} vaults: say which one with --vault HEX, one of {listed}")


def _others(store: Store) -> str:
    listed = ", ".join(candidate.hex() for candidate in list_vaults(store)[:10])
    return f"; it holds {listed}" if listed else "; it holds none, make one with: recoup init"


def parse_vault(text: str) -> bytes:
    """A vault id from 32 hex digits. Raises Usage."""
    try:
        vault_id = bytes.fromhex(text)
    except ValueError:
        vault_id = b""
    if len(vault_id) != ID_BYTES:
        raise Usage(f"{text!r} is not a vault id: it has {2 * ID_BYTES} hex digits")
    return vault_id
