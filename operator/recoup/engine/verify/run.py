"""The entrance of a verification: from a level and some recovery points to findings, and what is recorded of them in the log.

Good points of a level from 1 on get an ATTEST, damaged objects a DAMAGED, so that nothing new refers to them. Both need the verifier key,
which opens with a KEK, and the right to create objects; without that right the findings are the same, and say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

from recoup.engine.format.names import descriptor_name, digest_of, keyring_name
from recoup.engine.log.bodies import Attest, Damaged
from recoup.engine.log.facts import Committed
from recoup.engine.log.follow import LogRejected
from recoup.engine.places import standing
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.live import LiveReader, LiveSet
from recoup.engine.verify.objects import ObjectChecker, in_slice
from recoup.engine.verify.walk import PointWalker
from recoup.errors import Denied, Integrity, NotFound, Retryable
from recoup.report import Progress

_PER_ENTRY = 500
"""Manifests or objects that one log entry names: well below its limit of 56 KiB."""
_DAY = 86_400
T = TypeVar("T")


def verify(
    unlocked: Unlocked,
    commits: list[Committed],
    level: int,
    progress: Progress,
    *,
    record: bool = True,
    now: float | None = None,
    threads: int | None = None,
) -> Findings:
    """Verify the recovery points at `level` (0 to 4). Raises Retryable or Denied if the location cannot be read; all else is a finding."""
    findings = Findings(level, points=len(commits))
    try:
        check_log(unlocked, findings)
        if level == 0:
            return findings
        progress.start("reading sets")
        reader = LiveReader(unlocked.log, findings)
        live = reader.read(commits)
        findings.objects_live = len(live.objects)
        day = int((time.time() if now is None else now) // _DAY)
        progress.start("verifying", bytes_total=live.bytes, files_total=len(live.objects))
        chosen = (
            (reader.name(one), one, level > 2 or (level == 2 and in_slice(unlocked.reader, one.ref.digest, day)))
            for one in live.objects.values()
        )
        ObjectChecker(reader.store, unlocked.reader, level, findings, progress, threads).run(chosen)
        _walk(unlocked, live, findings, progress)
        if record:
            findings.recorded = _record(unlocked, live, findings)
    finally:
        progress.end()
    return findings


def check_log(unlocked: Unlocked, findings: Findings) -> None:
    """V0: the chain as it was followed, and that what the log names of keys and rules is what it names."""
    state, store = unlocked.log.state, unlocked.log.store
    if state.squatted:
        findings.log.append(f"LogSquatted: {state.invalid} entries do not count; somebody without a key writes into the log")
    for seq in state.breaks:
        findings.log.append(f"LogForked: what entry {seq} follows was damaged or replaced in the store")
    for seq in sorted(state.lost):
        findings.log.append(f"LogDamaged: entry {seq} is not what a key of this vault signed")
    _check_gap(unlocked, findings)
    identity = unlocked.identity
    for generation, digest in sorted(state.keyrings.items()):
        _check_named(store, keyring_name(identity.vault_id, generation, digest), digest, findings)
    if state.descriptor is not None:
        _check_named(store, descriptor_name(identity.vault_id, state.descriptor.number), state.descriptor.digest, findings)


def _check_gap(unlocked: Unlocked, findings: Findings) -> None:
    """Entries beyond the head mean that one was taken away, and with it every recovery point since, or that somebody planted them."""
    log, beyond, head = unlocked.log, 1, -1
    try:
        while beyond and log.follow().next_seq != head:  # somebody may be appending
            head = log.state.next_seq
            beyond = log.beyond_head()
    except Denied:
        return  # who may not list cannot know
    if beyond:
        message = f"LogGap: entry {head} is missing though {beyond} later ones are there: recovery points from it on are not seen"
        findings.log.append(f"{message}; bring it back from another copy or an older version, or delete what was planted")


def _check_named(store: Store, name: str, digest: bytes, findings: Findings) -> None:
    try:
        same = digest_of(store.get(name, 1 << 20)) == digest
    except NotFound:
        findings.log.append(f"ObjectMissing: {name}, which the log names, is missing")
        return
    except Integrity as error:
        findings.log.append(f"{error.reason}: {error}")
        return
    if not same:
        findings.log.append(f"DigestMismatch: {name} is not the one that the log names")


def _walk(unlocked: Unlocked, live: LiveSet, findings: Findings, progress: Progress) -> None:
    """At V4 every point; below that only if something is damaged, to say whom it concerns."""
    findings.harmless = [damage.name for ref, damage in findings.damages.items() if ref in live.objects and not live.objects[ref].needed]
    if findings.level < 4 and len(findings.harmless) == len(findings.damages):
        return
    progress.start("walking trees")
    walker = PointWalker(unlocked, findings)
    for commit in live.points:
        walker.walk(commit)


def _record(unlocked: Unlocked, live: LiveSet, findings: Findings) -> str:
    bad = {affected.point for affected in findings.affected}
    good = [commit.body.manifest for commit in live.points if commit.body.manifest.hex() not in bad]
    try:
        signer = unlocked.reader.signer
        for part in _parts(good):
            unlocked.log.append(Attest(findings.level, tuple(part), findings.objects, findings.bytes_read), signer)
        known = unlocked.log.state.damaged
        fresh = [standing(unlocked.log.state, ref) for ref in findings.damages]
        for objects in _parts([ref for ref in fresh if ref not in known]):
            unlocked.log.append(Damaged(tuple(objects), f"verification at level {findings.level}"), signer)
    except (Denied, Retryable, LogRejected) as error:
        return f"not recorded in the log: {error}"
    return f"recorded in the log: {len(good)} points good{f', {len(findings.damages)} objects damaged' if findings.damages else ''}"


def _parts(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), _PER_ENTRY):
        yield items[start : start + _PER_ENTRY]
