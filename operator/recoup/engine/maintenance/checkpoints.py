"""Writing checkpoints of a log, and comparing those that are there with what its entries say (docs/format.md section 6).

`audit` reads the log from entry 0, which is what decisions that cannot be taken back rest on; `extend` goes on from the newest checkpoint.
A crash leaves parts that nothing names. Two at once write the same; of one name the first one stands.
"""

from __future__ import annotations

import logging

from recoup.engine.format.names import checkpoint_name, digest_of, object_name
from recoup.engine.keys.signing import SigningKey
from recoup.engine.log.bodies import Signer
from recoup.engine.log.checkpoint import EVERY, Checkpoint, Part, encode_checkpoint
from recoup.engine.log.facts import Facts
from recoup.engine.log.follow import Log
from recoup.engine.log.jump import PART_AREA, Checkpoints
from recoup.engine.log.state import LogState
from recoup.engine.log.summary import content_digest, cut, encode_part, rows_of
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Integrity

KEPT = 2
"""Checkpoints, the newest, whose state is live."""
_LOOKED_AT = 16
_log = logging.getLogger(__name__)


class Keeper:
    """Called with the state of a log at every multiple of 128, in order. Without `signer` it only compares."""

    def __init__(self, store: Store, signer: SigningKey | None) -> None:
        self._store, self._signer = store, signer
        self._last: dict[bytes, Part] = {}
        """Parts of the checkpoint before, by content."""
        self._denied = False
        self.written = 0
        self.wrong: list[str] = []
        """What is not as the entries say."""

    def __call__(self, state: LogState) -> None:
        if state.initialised and not self._denied:
            try:
                self._keep(state)
            except Denied as error:
                _log.warning("checkpoints may not be read or written here: %s", error)
                self._denied = True

    def _keep(self, state: LogState) -> None:
        checkpoints, number = Checkpoints(self._store, state, map), state.next_seq // EVERY
        there = checkpoints.at(number)
        if there is not None:
            self._compare(there, state)
            self._last = {part.content: part for part in there.parts}
        elif self._signer is not None and state.role_of(self._signer.public) == (Signer.MAINTENANCE, state.generation):
            before = checkpoints.at(number - 1) if not self._last and number > 1 else None
            self._last |= {part.content: part for part in before.parts} if before is not None else {}
            self._write(state)

    def _compare(self, there: Checkpoint, state: LogState) -> None:
        name = checkpoint_name(state.vault_id, there.seq)
        if there.certificate != state.signed_certificates[state.generation]:
            self.wrong.append(f"CheckpointWrong: {name} is signed by a key that was not in force there")
        elif (there.head, there.previous) != (state.previous_seq, state.previous):
            self.wrong.append(f"CheckpointWrong: {name} says that entry {there.head} is the last valid one before it, which it is not")
        elif self._is_usable(there, state) and [part.content for part in there.parts] != [*map(content_digest, cut(rows_of(state)))]:
            self.wrong.append(f"CheckpointWrong: {name} does not say what the entries before it say")

    def _is_usable(self, there: Checkpoint, state: LogState) -> bool:
        """Whether its state is there still, judged by the part that changes with every entry."""
        return bool(there.parts) and self._store.size(object_name(state.vault_id, PART_AREA, there.parts[-1].digest)) is not None

    def _write(self, state: LogState) -> None:
        identity = state.require_identity()
        parts = tuple(self._put(content, state.vault_id) for content in cut(rows_of(state)))
        place = (identity.repo_id, identity.vault_id, state.location_id, state.next_seq, state.previous_seq, state.previous)
        checkpoint = Checkpoint(*place, state.signed_certificates[state.generation], parts)
        assert self._signer is not None
        if self._store.create(checkpoint_name(state.vault_id, state.next_seq), encode_checkpoint(checkpoint, self._signer)):
            self.written += 1
            self._last = {part.content: part for part in parts}

    def _put(self, content: bytes, vault_id: bytes) -> Part:
        known = self._last.get(content_digest(content))
        if known is not None and self._store.size(object_name(vault_id, PART_AREA, known.digest)) is not None:
            return known
        data = encode_part(content)
        part = Part(digest_of(data), content_digest(content))
        self._store.create(object_name(vault_id, PART_AREA, part.digest), data)
        return part


def audit(log: Log, signer: SigningKey | None) -> int:
    """Read the whole log, compare its checkpoints and, with a key, write those that are missing; how many were.

    Raises Integrity (CheckpointWrong) if one that readers would use does not say what the entries say.
    """
    keeper = Keeper(log.store, signer)
    log.read_all(keeper)
    if keeper.wrong:
        raise Integrity(
            f"{keeper.wrong[0]}: who reads it sees other recovery points than there are. Nothing is deleted; delete that checkpoint, and "
            "change the vault's keys if nothing explains it",
            reason="CheckpointWrong",
        )
    return keeper.written


def extend(log: Log, signer: SigningKey) -> int:
    """Write the checkpoints that are missing up to the head, going on from the newest one; how many were."""
    state, keeper = log.follow(), Keeper(log.store, signer)
    newest = state.next_seq // EVERY
    if not newest or Checkpoints(log.store, state, map).at(newest) is not None:
        return 0
    root = state.require_identity().root_public
    Log(log.store, state.vault_id, root_public=root, generation=state.generation, watch=keeper).follow()
    return keeper.written


def live_parts(store: Store, state: Facts) -> set[bytes]:
    """Digests of what the newest two checkpoints consist of."""
    checkpoints, newest = Checkpoints(store, state, map), state.next_seq // EVERY
    found: list[Checkpoint] = []
    for number in range(newest, max(newest - _LOOKED_AT, 0), -1):
        there = checkpoints.at(number)
        if there is not None:
            found.append(there)
        if len(found) == KEPT:
            break
    return {part.digest for checkpoint in found for part in checkpoint.parts}
