"""Whether a location to copy from is the vault that the copy was made of, and not an older or another one.

Everything is refused before the first object is copied. What each refusal means stands in docs/replication.md.
"""

from __future__ import annotations

from recoup.engine.keys.roles import VaultIdentity
from recoup.engine.replicate.home import SourceState, TargetState
from recoup.errors import Integrity, Invalid, NotFound


def check_source(source: SourceState, target: TargetState, source_url: str, target_url: str) -> VaultIdentity:
    """Who the vault is. Raises NotFound, Integrity or Invalid if `target` cannot be, or go on being, a copy of `source`."""
    vault = source.vault_id.hex()
    if not source.next_seq:
        raise NotFound(f"{source_url} holds no vault {vault}", reason="NoVault")
    identity = source.require_identity()
    if source.squatted:
        raise Integrity(f"the log of vault {vault} at {source_url} holds {source.invalid} entries that do not count", reason="LogSquatted")
    if target.foreign_root or (target.next_seq and not target.initialised):
        raise Integrity(
            f"the log of vault {vault} at {target_url} does not lead back to the root key of {source_url}: somebody planted one of them; "
            "compare the fingerprints with what `recoup init` printed, and take another prefix for the copy",
            reason="RootMismatch",
        )
    if source.location_id == target.location_id:
        raise Invalid(f"{source_url} and {target_url} are one location", reason="SameLocation")
    if target.at_home:
        raise Invalid(f"{target_url} is the home of vault {vault}; copies are made from there, not to it", reason="HomeIsTarget")
    _check_history(source, target, source_url)
    return identity


def _check_history(source: SourceState, target: TargetState, source_url: str) -> None:
    if source.differing:
        raise Integrity(
            f"{source_url} has another log entry {source.differing[0]} than was copied: two histories of one vault exist. Nothing is "
            "copied until a person decides which one counts; `recoup verify --level 0` at both tells more",
            reason="SourceForked",
        )
    if not source.at_home or source.met == len(target.copied):
        return  # another copy may lack what this one has
    newest = max(target.copied)
    if newest >= source.next_seq:
        raise Integrity(
            f"the log at {source_url} ends before entry {source.next_seq}, but entry {newest} was copied earlier: it was rolled back to an "
            "older state. Nothing is copied; the copy has what is missing there",
            reason="SourceRolledBack",
        )
    raise Integrity(
        f"entries that were copied from {source_url} do not count there any more: its log was damaged or changed in the store",
        reason="SourceForked",
    )
