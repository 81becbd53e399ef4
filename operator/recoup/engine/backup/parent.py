"""Finding the recovery point that a run builds on: the newest live one of the same volume, if its cache can be used.

The same volume is the same PVC, by the run ticket, or without one the same path on the same host. Nothing here is needed for
a correct recovery point: whatever is missing or damaged costs reading everything again, and is said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from recoup.engine.backup.dedup import Sets
from recoup.engine.backup.lineage import Lineage
from recoup.engine.backup.readback import ReadBack
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.keys.tickets import read_ticket
from recoup.engine.log.bodies import Commit
from recoup.engine.log.points import Before, open_point
from recoup.engine.log.state import LogState
from recoup.engine.records.cache import decode_root
from recoup.engine.records.nodes import Locator, ObjectRef
from recoup.errors import Integrity, Invalid, KeyUnavailable, NotFound

_log = logging.getLogger(__name__)


def find_lineage(
    state: LogState, keys: WriterKeys, readback: ReadBack, *, pvc_uid: str, source: str, walker: bytes
) -> tuple[Lineage | None, str]:
    """The lineage to build on, and why there is none."""
    commit = newest_point(state, keys, pvc_uid=pvc_uid, source=source)
    if commit is None:
        return None, "there is no earlier recovery point of this volume"
    if not commit.cache:
        return None, "the last recovery point has no cache"
    try:
        if _needs_damaged(state, commit, readback):
            return None, "the last recovery point needs an object that is known to be damaged"
        ref = ObjectRef(commit.cache)
        reader = readback.open(ref, Kind.CACHE)
        number = max(number for number, entry in enumerate(reader.table) if entry.kind == BlockKind.CACHE)
        place = Locator(ref.digest, ref.incarnation, number)
        root = decode_root(readback.cache_block(place), "a lineage cache")
        if root.walker != walker:
            return None, "the last recovery point was made with other excludes or by other rules"
        replaced = state.commits[commit.manifest].refs
        if replaced is not None:  # its blocks were moved since: what the cache says of refs and set is of before
            root = msgspec.structs.replace(root, refs=replaced, objects=ObjectRef(commit.object_set))
        return Lineage(readback, root, place), ""
    except (Integrity, NotFound, KeyUnavailable, ValueError) as error:
        _log.warning("the last recovery point's cache cannot be used, everything is read: %s", error)
        return None, f"the last recovery point's cache cannot be used: {error}"


def newest_point(state: LogState, keys: WriterKeys, *, pvc_uid: str, source: str) -> Commit | None:
    """The newest live point of the volume, whether or not it can be built on."""
    return next(_same_volume(state, keys, pvc_uid=pvc_uid, source=source), None)


def figures_before(state: LogState, keys: WriterKeys, *, pvc_uid: str, source: str) -> Before | None:
    """What the new point's record says of the one before it; None if there is none, or it cannot be read."""
    body = newest_point(state, keys, pvc_uid=pvc_uid, source=source)
    if body is None:
        return None
    try:
        last = open_point(keys.meta_key, keys.identity, state.commits[body.manifest].generation, body.session, body.record)
    except (Integrity, Invalid):
        return None
    earlier = last.before or Before(0, 0, 0, 0)
    new = last.bytes_new or 0
    return Before(last.files, last.bytes_total, earlier.bytes_new + new, earlier.bytes_stored + (last.bytes_stored if new else 0))


def _same_volume(state: LogState, keys: WriterKeys, *, pvc_uid: str, source: str) -> Iterator[Commit]:
    """Live points of the volume, the newest first. Only those of the same K_w: others have other ids."""
    for committed in reversed(state.commits.values()):
        body = committed.body
        if not keys.builds_on(committed.generation):
            continue
        if pvc_uid or body.ticket:
            if pvc_uid and body.ticket and read_ticket(body.ticket, "a COMMIT").pvc_uid == pvc_uid:
                yield body
            continue
        try:
            record = open_point(keys.meta_key, keys.identity, committed.generation, body.session, body.record)
        except (Integrity, Invalid):
            continue
        if record.source == source:
            yield body


def _needs_damaged(state: LogState, commit: Commit, readback: ReadBack) -> bool:
    sets = Sets(readback)
    damaged = [ObjectRef(ref.digest, ref.incarnation) for ref in state.damaged]
    return any(ref.digest in {commit.cache, commit.object_set} or sets.member(commit.object_set, ref) for ref in damaged)
