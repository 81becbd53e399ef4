"""The entrance of a verification: from a level and some recovery points to findings, and what is recorded of them in the log.

What is found damaged can be brought back from other locations in the same run, and is then looked at again. Recording
(`record.py`) needs the right to create objects; without that right the findings are the same, and say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from recoup.engine.evidence import seconds_of
from recoup.engine.format.names import descriptor_name, digest_of, keyring_name
from recoup.engine.judged import Judged
from recoup.engine.log.facts import Committed
from recoup.engine.maintenance.checkpoints import Keeper
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.stores.base import Store
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.live import Live, LiveReader, LiveSet
from recoup.engine.verify.objects import DAY, OPENED, PRESENT, WHOLE, ObjectChecker, Sampler
from recoup.engine.verify.record import record_damage, record_result, state_run
from recoup.engine.verify.walk import PointWalker
from recoup.errors import Denied, Integrity, NotFound, RecoupError
from recoup.report import Progress

Healer = Callable[[], object]
"""Brings back what DAMAGED entries name, as far as it can; raises RecoupError."""
SAMPLED = 2


def verify(
    unlocked: Unlocked,
    commits: list[Committed],
    level: int,
    progress: Progress,
    *,
    record: bool = True,
    now: float | None = None,
    threads: int | None = None,
    healer: Healer | None = None,
    purpose: str = "",
) -> Findings:
    """Verify the recovery points at `level` (0 to 4). Raises Retryable or Denied if the location cannot be read; all else is a finding.

    `healer` brings damaged objects back, which are then looked at again. `purpose` is recorded as the round of this run.
    """
    findings = Findings(level, points=len(commits))
    started = time.time() if now is None else now
    chosen = len(commits) < len(unlocked.log.state.commits)
    try:
        check_log(unlocked, findings)
        if level == 0:
            return findings
        check = _Check(unlocked, level, _last_sampled(unlocked, started), started, progress, threads)
        live = check.all(commits, findings)
        if record:
            findings.recorded = record_damage(unlocked, findings)
        if healer is not None and (findings.damages or findings.log):
            live = _heal(unlocked, check, healer, commits, live, findings)
        _walk(unlocked, live, findings, progress)
        if record and not findings.recorded:
            statement = state_run(findings, started, time.time() if now is None else now, chosen=chosen, purpose=purpose)
            findings.recorded = record_result(unlocked, live, findings, statement)
    finally:
        progress.end()
    return findings


class _Check:
    """Looking at objects once, as deep as the level says; what was once damaged here, as deep as can be."""

    def __init__(self, unlocked: Unlocked, level: int, since: float, until: float, progress: Progress, threads: int | None) -> None:
        self._unlocked, self._level, self._progress, self._threads = unlocked, level, progress, threads
        self._sampler = Sampler(unlocked.reader, since, until)
        self._doubtful = {ref.digest for ref in unlocked.log.state.damaged}

    def all(self, commits: list[Committed], findings: Findings, only: Callable[[Live], bool] = lambda _live: True) -> LiveSet:
        """Everything that these points need. `only` leaves out what needs no look; it is live all the same."""
        self._progress.start("reading sets")
        reader = LiveReader(self._unlocked.log, findings)
        live = reader.read(commits)
        findings.objects_live = len(live.objects)
        self._progress.start("verifying", bytes_total=live.bytes, files_total=len(live.objects))
        checker = ObjectChecker(reader.store, self._unlocked.reader, self._level, findings, self._progress, self._threads)
        checker.run((reader.name(one), one, self._depth(one)) for one in live.objects.values() if only(one))
        return live

    def distrust(self, damaged: Iterable[ObjectRef]) -> None:
        """These are to be opened from now on."""
        self._doubtful.update(ref.digest for ref in damaged)

    def _depth(self, live: Live) -> int:
        if self._level >= OPENED or live.ref.digest in self._doubtful:
            return OPENED
        if self._level == WHOLE or (self._level == SAMPLED and self._sampler.is_due(live.ref.digest)):
            return WHOLE
        return PRESENT


def _last_sampled(unlocked: Unlocked, now: float) -> float:
    """The moment up to which V2 has read what was due: the last run of the whole vault that read content, or a day ago."""
    runs = [run for run in Judged().follow(unlocked.log.state).verifications if run.level >= SAMPLED and not run.chosen]
    last = seconds_of(runs[-1].started) if runs else now - DAY
    return last if last < now else now - DAY


def _heal(unlocked: Unlocked, check: _Check, healer: Healer, commits: list[Committed], live: LiveSet, findings: Findings) -> LiveSet:
    """Have damaged objects brought back, and look at them again: `findings` are of the vault as it is then.

    A damaged object set hides what it names, so what comes to light behind one that was healed is recorded and healed in turn.
    """
    damaged: dict[ObjectRef, object] = {}
    seen = set(live.objects)
    while not damaged or not findings.damages.keys() <= damaged.keys():
        damaged |= findings.damages
        try:
            healer()
            findings.healing = "Tried"
        except RecoupError as error:
            findings.healing = error.reason
        unlocked.log.follow()
        check.distrust(damaged)
        live = _look_again(unlocked, check, commits, findings, damaged.keys(), seen)
        seen |= live.objects.keys()
        findings.recorded = record_damage(unlocked, findings)
        if not damaged or findings.healing != "Tried" or findings.recorded:
            break
    findings.found_objects, findings.healed = len(damaged), sum(ref not in findings.damages for ref in damaged)
    return live


def _look_again(
    unlocked: Unlocked,
    check: _Check,
    commits: list[Committed],
    findings: Findings,
    damaged: AbstractSet[ObjectRef],
    seen: AbstractSet[ObjectRef],
) -> LiveSet:
    """Look at what was damaged, and at what no set named before."""
    again = Findings(findings.level, facts=findings.facts)
    live = check.all(commits, again, lambda one: one.ref in damaged or one.ref not in seen)
    check_log(unlocked, again)
    findings.log, findings.damages, findings.affected = again.log, again.damages, again.affected
    findings.bytes_read, findings.objects_live = findings.bytes_read + again.bytes_read, again.objects_live
    findings.objects += sum(ref not in seen for ref in live.objects)
    return live


def check_log(unlocked: Unlocked, findings: Findings) -> None:
    """V0: the chain from entry 0 on, that checkpoints say what it says, and that what the log names of keys and rules is what it names."""
    store, keeper = unlocked.log.store, Keeper(unlocked.log.store, None)
    state = unlocked.log.read_all(keeper)
    findings.log += keeper.wrong
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
