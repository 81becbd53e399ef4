"""Destroying a vault's keys at every location, so that nothing stored opens any more (docs/keys.md, docs/format.md section 2).

What is sealed opens only with keys that stand in the keyrings. When these are gone, not even a KEK helps. Data objects stay: they are
noise then. EVIDENCE is appended before and after, so that a shred that was interrupted is finished by running it again, with keys or
without. What cannot be destroyed is said: locked versions, copies at places that were not named, keys in the memory of programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from recoup import __version__
from recoup.engine.format.names import keyring_name, vault_prefix
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Evidence
from recoup.engine.log.follow import Log
from recoup.engine.stores.versions import Kept, erase, names_below
from recoup.engine.vault import SHRED
from recoup.errors import Denied, Integrity, Invalid, NotFound
from recoup.value import Value

_LISTED: Final = 200
"""Names that a receipt lists for each place; the rest is counted."""


class Remaining(msgspec.Struct, frozen=True, rename="camel"):
    """A keyring that could not be destroyed. It opens for its KEKs until it is."""

    name: str
    version: str
    until: str | None
    reason: str


class PlaceReceipt(msgspec.Struct, frozen=True, rename="camel"):
    """What was done at one location."""

    url: str
    location_id: str
    destroyed: tuple[str, ...]
    """Names of keyring objects, which hold their digests."""
    destroyed_total: int
    remaining: tuple[Remaining, ...]


class Statement(msgspec.Struct, frozen=True, rename="camel"):
    """What EVIDENCE says, and the receipt that a person keeps."""

    phase: str
    """`begun`: destruction was ordered. `done`: nothing is left. `incomplete`: see `remaining`."""
    fingerprint: str
    at: str
    """By the clock of who did it."""
    tool: str
    places: tuple[PlaceReceipt, ...]


class Shredded(Value, frozen=True):
    statement: Statement
    signed_at: tuple[str, ...]
    """Log entries that say the same, signed, as `url: name`. Empty if the keys to sign with were gone from an earlier, interrupted run."""

    @property
    def complete(self) -> bool:
        return self.statement.phase == "done"


def begun(log: Log) -> bool:
    """Whether a holder of this vault's keys has ordered its destruction here."""
    return any(noted.body.kind == SHRED for noted in log.state.evidence)


def shred(logs: Sequence[Log], signer: SigningKey | None, now: datetime) -> Shredded:
    """Destroy the keyrings of one vault at these places, whose logs were followed. `signer` is the verifier key.

    Without a signer every place must have been `begun`. Raises before anything is destroyed if EVIDENCE cannot be appended somewhere.
    """
    fingerprint = logs[0].state.require_identity().fingerprint
    if signer is None and not all(begun(log) for log in logs):
        raise Invalid("keys can be destroyed without a key only where that was begun with one", reason="NotBegun")
    order = Statement("begun", fingerprint, _text(now), f"recoup {__version__}", tuple(_receipt(log, [], []) for log in logs))
    if signer is not None:
        for log in logs:
            log.append(_evidence(order), signer)
    places = tuple(_destroy(log) for log in logs)
    done = msgspec.structs.replace(order, phase="incomplete" if any(place.remaining for place in places) else "done", places=places)
    signed = [f"{log.store.url}: log entry {log.append(_evidence(done), signer).head.seq}" for log in logs] if signer is not None else []
    return Shredded(done, tuple(signed))


def _destroy(log: Log) -> PlaceReceipt:
    prefix = f"{vault_prefix(log.state.vault_id)}keyring/"
    named = {keyring_name(log.state.vault_id, number, digest) for number, digest in log.state.keyrings.items()}
    destroyed: list[str] = []
    kept: list[Kept] = []
    for name in sorted({*names_below(log.store, prefix), *named}):
        left = erase(log.store, name)
        kept += left
        if not left:
            destroyed.append(name)
    _prove_gone(log, [*destroyed, *named], {left.name for left in kept})
    return _receipt(log, destroyed, kept)


def _prove_gone(log: Log, names: Sequence[str], kept: set[str]) -> None:
    """A delete that was answered and had no effect is no destruction."""
    for name in names:
        if name in kept:
            continue
        try:
            log.store.get(name)
        except NotFound:
            continue
        except (Denied, Integrity) as error:
            raise Integrity(
                f"{name} at {log.store.url} should be gone, and its absence cannot be shown: {error}", reason="NotShredded"
            ) from error
        raise Integrity(
            f"{name} at {log.store.url} was deleted and is still there: nothing can be promised; run it again", reason="NotShredded"
        )


def _receipt(log: Log, destroyed: Sequence[str], kept: Sequence[Kept]) -> PlaceReceipt:
    remaining = tuple(Remaining(left.name, left.version, _text(left.until) if left.until else None, left.reason) for left in kept[:_LISTED])
    return PlaceReceipt(log.store.url, log.state.location_id.hex(), tuple(destroyed[:_LISTED]), len(destroyed), remaining)


def _evidence(statement: Statement) -> Evidence:
    """Without URLs: whoever keeps one copy need not learn where the others are."""
    places = tuple(msgspec.structs.replace(place, url="") for place in statement.places)
    return Evidence(SHRED, msgspec.json.encode(msgspec.structs.replace(statement, places=places)).decode())


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
