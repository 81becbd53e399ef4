"""Going to the newest checkpoint that can be believed, instead of reading a long log from entry 0 (docs/format.md section 6).

A cache and nothing more: whatever is absent, damaged, forged, of an older generation or without its state leads to an older checkpoint or
to entry 0, never to an error. Entries from the checkpoint on are read as always.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Final

from recoup.engine.format.kinds import Area
from recoup.engine.format.names import checkpoint_name, digest_of, log_name, object_name, vault_prefix
from recoup.engine.log.checkpoint import EVERY, MAX_CHECKPOINT_BYTES, Checkpoint, Part, decode_checkpoint
from recoup.engine.log.entries import MAX_ENTRY_BYTES
from recoup.engine.log.facts import Facts
from recoup.engine.log.summary import MAX_PART_BYTES, content_digest, decode_part, restore
from recoup.engine.stores.base import Store
from recoup.errors import Denied, Integrity, NotFound

TRIED: Final = 4
"""Checkpoints whose state is tried, from the newest down; the state of two is kept."""
PART_AREA: Final[Area] = "x"
_GALLOP: Final = 8
_FARTHEST: Final = 40
_NAMES: Final = 10_000
_log = logging.getLogger(__name__)

Run = Callable[[Callable[[str], bytes | None], list[str]], Iterable[bytes | None]]
"""Maps a GET over names, in parallel or not."""


@dataclass
class Checkpoints:
    """The checkpoints of one log as they are asked for; `facts` know the vault already."""

    store: Store
    facts: Facts
    run: Run
    _known: dict[int, Checkpoint | None] = field(default_factory=dict)
    """By number, which is the seq divided by EVERY. None: there is something that is no checkpoint."""

    def at(self, number: int) -> Checkpoint | None:
        """The checkpoint if it is there and signed; its state may be gone."""
        self._ask([number])
        return self._known.get(number)

    def newest(self) -> int:
        """Number of the newest that is signed, found by galloping; 0 if there is none."""
        self._ask([1])
        exponent = 0
        while exponent < _FARTHEST and (1 << exponent) in self._known:
            self._ask([1 << step for step in range(exponent + 1, exponent + 1 + _GALLOP)])
            while exponent < _FARTHEST and (1 << exponent) in self._known:
                exponent += 1
        low = max((number for number, found in self._known.items() if found is not None), default=0)
        high = 2 * low
        while high - low > 1:
            middle = (low + high) // 2
            if self.at(middle) is not None:
                low = middle
            else:
                high = middle
        return low

    def parts(self, checkpoint: Checkpoint) -> list[bytes]:
        """The contents of all parts of its state. Raises Integrity if one is missing or not what it says."""
        names = [object_name(self.facts.vault_id, PART_AREA, part.digest) for part in checkpoint.parts]
        found = zip(checkpoint.parts, self.run(self._part, names), strict=True)
        return [_content(part, data) for part, data in found]

    def _ask(self, numbers: list[int]) -> None:
        asked = [number for number in numbers if number not in self._known]
        names = [checkpoint_name(self.facts.vault_id, number * EVERY) for number in asked]
        for number, name, data in zip(asked, names, self.run(self._checkpoint, names), strict=True):
            if data is not None:
                self._known[number] = self._believed(number, data, name)

    def _believed(self, number: int, data: bytes, name: str) -> Checkpoint | None:
        identity = self.facts.require_identity()
        try:
            checkpoint, _ = decode_checkpoint(data, name, identity.root_public)
        except Integrity as error:
            _log.warning("%s is passed over: %s", name, error)
            return None
        place = (identity.repo_id, identity.vault_id, self.facts.location_id, number * EVERY)
        return checkpoint if place == (checkpoint.repo_id, checkpoint.vault_id, checkpoint.location_id, checkpoint.seq) else None

    def _checkpoint(self, name: str) -> bytes | None:
        return self._get(name, MAX_CHECKPOINT_BYTES)

    def _part(self, name: str) -> bytes | None:
        return self._get(name, MAX_PART_BYTES)

    def _get(self, name: str, limit: int) -> bytes | None:
        try:
            return self.store.get(name, limit)
        except NotFound:
            return None
        except Integrity:
            return b""


def jump(facts: Facts, store: Store, run: Run, generation: int) -> bool:
    """Bring facts that know the vault to the newest checkpoint beyond them. False, with nothing changed, if there is none to believe.

    `generation` is the newest that the caller knows of: what an older one's key signed is not believed, it may have leaked since.
    """
    if not facts.initialised:
        return False
    checkpoints = Checkpoints(store, facts, run)
    try:
        newest = checkpoints.newest()
        for number in range(newest, max(newest - TRIED, facts.next_seq // EVERY), -1):
            found = _load(checkpoints, number, max(generation, facts.generation))
            if found is not None:
                for one in fields(Facts):
                    setattr(facts, one.name, getattr(found, one.name))
                return True
    except Denied as error:
        _log.info("checkpoints may not be read, the log is read from its beginning: %s", error)
    return False


def _load(checkpoints: Checkpoints, number: int, generation: int) -> Facts | None:
    """What the log says up to a checkpoint; None if its state, or what it says of the log, is not there."""
    checkpoint, known = checkpoints.at(number), checkpoints.facts
    if checkpoint is None:
        return None
    try:
        facts = restore(checkpoints.parts(checkpoint), known.vault_id, known.require_identity().root_public, f"checkpoint {number * EVERY}")
        _check(checkpoint, facts, known, generation)
        _check_log(checkpoints.store, known.vault_id, checkpoint)
        _check_keyrings(checkpoints.store, known.vault_id, facts.generation)
    except (Integrity, NotFound) as error:
        _log.info("checkpoint %d is passed over: %s", number * EVERY, error)
        return None
    facts.pinned_root, facts.location_id = known.pinned_root, checkpoint.location_id
    facts.next_seq = facts.base = checkpoint.seq
    facts.previous, facts.previous_seq = checkpoint.previous, checkpoint.head
    return facts


def _check(checkpoint: Checkpoint, facts: Facts, known: Facts, generation: int) -> None:
    if facts.identity != known.identity or facts.signed_certificates[facts.generation] != checkpoint.certificate:
        raise Integrity("its state is of another vault or generation")
    if facts.generation < generation:
        raise Integrity(f"a key of generation {facts.generation} signed it, which is over")


def _check_log(store: Store, vault_id: bytes, checkpoint: Checkpoint) -> None:
    """The entries that it ends with stand there still: it is of this log, and the log reaches so far."""
    if digest_of(store.get(log_name(vault_id, checkpoint.head), MAX_ENTRY_BYTES)) != checkpoint.previous:
        raise Integrity(f"entry {checkpoint.head} is not the one that it follows")
    if checkpoint.head != checkpoint.seq - 1:
        store.get(log_name(vault_id, checkpoint.seq - 1))


def _check_keyrings(store: Store, vault_id: bytes, generation: int) -> None:
    """No keyring of a newer generation is to be seen: the key that signed may be one that leaked and was replaced."""
    prefix = f"{vault_prefix(vault_id)}keyring/"
    if any(number > generation for number in islice(_generations(store, prefix), _NAMES)):
        raise Integrity("there is a keyring of a newer generation")


def _generations(store: Store, prefix: str) -> Iterator[int]:
    for name, _ in store.list(prefix):
        number = name[len(prefix) :].partition("-")[0]
        if number.isascii() and number.isdigit():
            yield int(number[:18])


def _content(part: Part, data: bytes | None) -> bytes:
    what = f"part {part.digest.hex()}"
    if data is None or digest_of(data) != part.digest:
        raise Integrity(f"{what} is missing or damaged")
    content = decode_part(data, what)
    if content_digest(content) != part.content:
        raise Integrity(f"{what} does not hold what the checkpoint says")
    return content
