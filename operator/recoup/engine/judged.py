"""What verifications and drills say of each recovery point at one location: the sum of ATTEST and EVIDENCE entries.

Entries are taken in log order, each once, however often `follow` is called. A point is damaged from the evidence that names it until
an ATTEST of it that looked deep enough.
"""

from __future__ import annotations

from collections import deque

from msgspec import field

from recoup.engine.evidence import DRILL, VERIFICATION, DamagedPoint, Drill, Verification, read_statement
from recoup.engine.log.bodies import Attest, Evidence
from recoup.engine.log.facts import Attested, Facts, Noted
from recoup.value import Record, Value

REMEMBERED = 256
"""Runs of each kind that are kept, the newest last."""


class Damage(Value, frozen=True):
    """Why a point cannot be restored whole from this location. Times: seconds since 1970, by the verifier's clock."""

    since: float
    """When the first verification of those that found it so, without a good one in between, was recorded."""
    at: float
    statement: DamagedPoint
    healing: str
    """What became of healing when that was last tried; empty if it was not."""


class Judgement(Record):
    """One point. Levels are those of ATTESTs; times are seconds since 1970."""

    highest: int | None = None
    level: int | None = None
    """Of the newest ATTEST."""
    attested_at: float | None = None
    damage: Damage | None = None
    drilled_at: float | None = None
    """When it last passed a drill."""


class Judged(Record):
    """What one log says so far."""

    points: dict[bytes, Judgement] = field(default_factory=dict)
    verifications: deque[Verification] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    drills: deque[Drill] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    touched: set[bytes] = field(default_factory=set)
    """Points of which something was said since the caller last cleared this."""
    _attests: int = 0
    _evidence: int = 0

    def follow(self, state: Facts) -> Judged:
        """Take what is new. `state` is always the same log, further on."""
        new: list[Attested | Noted[Evidence]] = [*state.attests[self._attests :], *state.evidence[self._evidence :]]
        self._attests, self._evidence = len(state.attests), len(state.evidence)
        for entry in sorted(new, key=lambda one: one.seq):
            if isinstance(entry, Attested):
                self._attest(entry.body, entry.time / 1000)
            elif entry.body.kind == VERIFICATION:
                self._verification(entry.body, entry.time / 1000)
            elif entry.body.kind == DRILL:
                self._drill(entry.body, entry.time / 1000)
        for gone in [point for point in self.points if point not in state.commits]:
            del self.points[gone]
        return self

    def _attest(self, body: Attest, at: float) -> None:
        for manifest in body.manifests:
            point = self._point(manifest)
            point.highest = max(body.level, point.highest or 0)
            point.level, point.attested_at = body.level, at
            if point.damage is not None and body.level >= point.damage.statement.cleared_by:
                point.damage = None

    def _verification(self, body: Evidence, at: float) -> None:
        said = read_statement(body, Verification)
        if said is None:
            return
        for damaged in said.damaged:
            manifest = _bytes(damaged.id)
            before = self._point(manifest).damage
            self.points[manifest].damage = Damage(before.since if before else at, at, damaged, said.healing)
        last = self.verifications[-1] if self.verifications else None
        if last is not None and (last.started, last.round) == (said.started, said.round):  # the rest of a long list
            self.verifications.pop()
        self.verifications.append(said)

    def _drill(self, body: Evidence, at: float) -> None:
        said = read_statement(body, Drill)
        if said is None:
            return
        self.drills.append(said)
        if said.passed:
            self._point(_bytes(said.point)).drilled_at = at

    def _point(self, manifest: bytes) -> Judgement:
        self.touched.add(manifest)
        return self.points.setdefault(manifest, Judgement())


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
