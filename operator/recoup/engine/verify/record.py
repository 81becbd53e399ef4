"""What a verification writes into the log: DAMAGED, ATTEST, and EVIDENCE of the run. All signed with the verifier key.

Good points of a level from 1 on get an ATTEST, damaged objects a DAMAGED, so that nothing new refers to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from recoup import __version__
from recoup.engine.evidence import POINTS_PER_ENTRY, VERIFICATION, DamagedPoint, Verification, time_text, to_entry
from recoup.engine.log.bodies import Attest, Damaged
from recoup.engine.log.follow import LogRejected
from recoup.engine.places import standing
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.live import LiveSet
from recoup.engine.verify.objects import OPENED
from recoup.errors import Denied, Retryable

_PER_ENTRY = 500
"""Manifests or objects that one log entry names: well below its limit of 56 KiB."""
T = TypeVar("T")


def record_damage(unlocked: Unlocked, findings: Findings) -> str:
    """DAMAGED for what is not known yet, so that nothing new refers to it. Returns why it could not be recorded, if so."""
    known = unlocked.log.state.damaged
    fresh = [standing(unlocked.log.state, ref) for ref in findings.damages]
    try:
        for objects in _parts([ref for ref in fresh if ref not in known]):
            unlocked.log.append(Damaged(tuple(objects), f"verification at level {findings.level}"), unlocked.reader.signer)
    except (Denied, Retryable, LogRejected) as error:
        return f"not recorded in the log: {error}"
    return ""


def record_result(unlocked: Unlocked, live: LiveSet, findings: Findings, statement: Verification) -> str:
    """ATTEST for the good points, EVIDENCE for the run and the points that are not. Returns what was recorded, or why not."""
    bad = {affected.point for affected in findings.affected}
    good = [commit.body.manifest for commit in live.points if commit.body.manifest.hex() not in bad]
    damaged = [DamagedPoint(one.point, bool(one.whole), one.paths_total, 1 if one.explained else OPENED) for one in findings.affected]
    try:
        signer = unlocked.reader.signer
        for part in _parts(good):
            unlocked.log.append(Attest(findings.level, tuple(part), findings.objects, findings.bytes_read), signer)
        for start in range(0, max(1, len(damaged)), POINTS_PER_ENTRY):
            said = msgspec.structs.replace(statement, damaged=tuple(damaged[start : start + POINTS_PER_ENTRY]))
            unlocked.log.append(to_entry(VERIFICATION, said), signer)
    except (Denied, Retryable, LogRejected) as error:
        return f"not recorded in the log: {error}"
    return f"recorded in the log: {len(good)} points good{f', {len(findings.damages)} objects damaged' if findings.damages else ''}"


def state_run(findings: Findings, started: float, ended: float, *, chosen: bool, purpose: str) -> Verification:
    """What EVIDENCE says of this run."""
    return Verification(
        started=time_text(started),
        ended=time_text(ended),
        level=findings.level,
        points=findings.points,
        objects=findings.objects,
        objects_live=findings.objects_live,
        bytes_read=findings.bytes_read,
        chosen=chosen,
        damaged_objects=len(findings.damages),
        healed_objects=findings.healed,
        healing=findings.healing,
        log=tuple(dict.fromkeys(text.split(":")[0] for text in findings.log)),
        round=purpose,
        tool=f"recoup {__version__}",
    )


def _parts(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), _PER_ENTRY):
        yield items[start : start + _PER_ENTRY]
