"""When the entries of those who tidy up are valid: FORGET, PIN, CONDEMN, SWEEP, REPLACE, INDEX, HEAL (docs/format.md section 6).

Pure, and answered from the log alone, so that every reader agrees. What needs the object sets as well, the appender checks
before it writes (`sets.py`).
"""

from __future__ import annotations

from recoup.engine.format.kinds import DIGEST_BYTES
from recoup.engine.format.names import log_name
from recoup.engine.keys.tickets import read_ticket
from recoup.engine.log.bodies import Adopt, Condemn, Evidence, Forget, Heal, Index, ObjectRef, Pin, Replace, Sweep, Unpin
from recoup.engine.log.facts import Committed, Facts
from recoup.errors import Integrity

MAX_REASON = 1024
"""Characters of a reason or rule."""
MAX_INCARNATION = 999_999_999


def upkeep_objection(state: Facts, body: Adopt | Forget | Pin | Unpin | Condemn | Sweep | Replace | Index | Heal | Evidence) -> str | None:
    """Why the entry would not count next; None if it would."""
    match body:
        case Adopt():
            return _adopt(state, body)
        case Forget():
            return _forget(state, body)
        case Pin():
            if body.point not in state.commits:
                return "the recovery point is not live"
            return "the recovery point is pinned already" if body.point in state.pinned else _text(body.reason)
        case Unpin():
            return "the recovery point is not pinned" if body.point not in state.pinned else _text(body.reason)
        case Condemn():
            return _condemn(state, body)
        case Sweep():
            return _sweep(state, body)
        case Replace():
            return _replace(state, body)
        case Index():
            return _index(state, body)
        case Heal():
            return _heal(state, body)
        case Evidence():
            return None if body.kind.isalnum() else "EVIDENCE names no kind"


def open_since(state: Facts, seq: int) -> int:
    """How many sessions have not ended whose first OPEN is before `seq`."""
    return sum(not session.ended and min(session.opens, default=seq) < seq for session in state.sessions.values())


def policy_of(state: Facts, commit: Committed) -> str:
    """UID of the policy that owns the point, after every ADOPT; empty for a point without a ticket."""
    if not commit.body.ticket:
        return ""
    try:
        return state.policy_of(read_ticket(commit.body.ticket, log_name(state.vault_id, commit.seq)).policy_uid)
    except Integrity:  # it counted when it was committed
        return ""


def _adopt(state: Facts, body: Adopt) -> str | None:
    if not body.old_policy_uid or not body.new_policy_uid or state.policy_of(body.new_policy_uid) == body.old_policy_uid:
        return "ADOPT names no two policies, or goes in a circle"
    return "the old policy's points were adopted already" if body.old_policy_uid in state.adopted else None


def _forget(state: Facts, body: Forget) -> str | None:
    if not body.points or len(set(body.points)) != len(body.points):
        return "FORGET names no points, or one twice"
    for point in body.points:
        if point not in state.commits:
            return f"recovery point {point.hex()[:16]} is not live"
        if point in state.pinned:
            return f"recovery point {point.hex()[:16]} is pinned"
        if body.policy_uid and policy_of(state, state.commits[point]) != body.policy_uid:
            return f"recovery point {point.hex()[:16]} belongs to another policy"
    known = state.policy_generations.get(body.policy_uid, 0)
    if body.policy_uid and body.policy_generation < known:
        return f"generation {body.policy_generation} of the policy is over, {known} has forgotten already"
    return _text(body.rule)


def _condemn(state: Facts, body: Condemn) -> str | None:
    if not body.lists or not _are_digests(body.lists) or body.objects <= 0 or body.size < 0 or body.live_objects < 0:
        return "CONDEMN names nothing, or is malformed"
    if not 0 <= body.marked <= state.next_seq or any(seq >= body.marked for seq in state.swept):
        return "somebody else swept since it was decided what is live"
    return None if all(seq in state.swept for seq in body.finished) else "CONDEMN calls a SWEEP finished that is none"


def _sweep(state: Facts, body: Sweep) -> str | None:
    condemned = state.condemned.get(body.condemned)
    if condemned is None:
        return "SWEEP names no CONDEMN that waits for it"
    if not _are_digests(body.lists) or not 0 <= body.objects <= condemned.body.objects or body.live_objects < 0:
        return "SWEEP is malformed"
    if bool(body.lists) != bool(body.objects) or not 0 <= body.marked <= state.next_seq:
        return "SWEEP is malformed"
    if state.breaks:
        return f"LogForked: what entry {state.breaks[0]} follows was damaged or replaced, nothing may be deleted"
    if body.objects and condemned.body.unnamed:
        older = open_since(state, body.condemned)
        if older:
            return f"{older} sessions were open when the objects were condemned and are so still: the objects may be theirs"
    return None


def _replace(state: Facts, body: Replace) -> str | None:
    commit, session = state.commits.get(body.point), state.sessions.get(body.session)
    if commit is None:
        return "the recovery point is not live"
    if body.previous != commit.named_at:
        return f"entry {commit.named_at} stands for the recovery point, not {body.previous}"
    if session is None or session.ended or body.open_seq not in session.opens or body.open_seq <= session.aborted_up_to:
        return "REPLACE names no OPEN that has not ended"
    if not _are_digests((body.object_set, *body.index_segments)) or len(body.refs.digest) != DIGEST_BYTES:
        return "REPLACE is malformed"
    return None if _are_objects(body.incarnations) else "REPLACE is malformed"


def _index(state: Facts, body: Index) -> str | None:
    if not _are_digests((*body.segments, *body.replaced)) or len(set(body.replaced)) != len(body.replaced) or not body.replaced:
        return "INDEX is malformed"
    return None if set(body.replaced) <= set(state.segments) else "INDEX replaces a segment that is not in force"


def _heal(state: Facts, body: Heal) -> str | None:
    if not body.objects or not _are_objects(body.objects):
        return "HEAL names no objects, or malformed ones"
    for ref in body.objects:
        if ref.incarnation == 0 or ref.incarnation > min(state.incarnation_of(ref.digest) + HEAL_AHEAD, MAX_INCARNATION):
            return "HEAL does not name a next incarnation"
    return None


HEAL_AHEAD = 64
"""Incarnations that the log does not name (they were swept, or put and never named) and that a HEAL may pass over."""


def _text(text: str) -> str | None:
    return None if len(text) <= MAX_REASON else f"its text is longer than {MAX_REASON} characters"


def _are_digests(digests: tuple[bytes, ...]) -> bool:
    return all(len(digest) == DIGEST_BYTES for digest in digests)


def _are_objects(refs: tuple[ObjectRef, ...]) -> bool:
    return all(len(ref.digest) == DIGEST_BYTES and 0 <= ref.incarnation <= MAX_INCARNATION for ref in refs)
