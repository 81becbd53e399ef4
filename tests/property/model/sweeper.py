"""Appending by the rules, and one who sweeps: the same at the home and at a copy.

| rule in the model | what it stands for |
|---|---|
| atomic | create-if-absent (engine/stores), decide on the whole prefix: `Log.append` |
| sweep-compares | `sets._swept`: a SWEEP names nothing that a point needs which came after `marked` |
| sweep-waits | `upkeep._sweep`: nothing unnamed while a session is open that began before its CONDEMN |
| condemn-fresh | `upkeep._condemn`: nobody swept since `marked` |
| delete-after-sweep | `prune._sweep`: objects are deleted after their SWEEP stands, not before |
| look-again | `look.surviving`: what is live again is taken out before the SWEEP |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.property.model.logs import NOTHING, Entry, Log, Objects, Place, facts, live_names

Off = frozenset[str]
"""Rules that are switched off."""
Objection = Callable[[Log, Entry], bool]


class Sweeper(NamedTuple):
    name: str
    rounds: int
    at: str = "idle"
    """idle → marked → listed (condemns) → idle … marked → (sweeps); decided: has read the head and not created yet."""
    marked: int = 0
    live: frozenset[str] = frozenset()
    named: Objects = NOTHING
    unnamed: Objects = NOTHING
    entry: Entry | None = None
    seq: int = 0


Step = tuple[str, Place, Sweeper]


def entry_at(log: Log, kind: str, by: str, **more: object) -> Entry:
    """The next entry, chained to the last one that counts."""
    last: Entry | None = None
    for entry in log:
        if entry.after == last:
            last = entry
    return Entry(kind, by, last, **more)  # type: ignore[arg-type]


def place_entry(place: Place, seq: int, entry: Entry) -> Place:
    """Without atomic creation what stands there already is overwritten."""
    return place._replace(log=(*place.log[:seq], entry, *place.log[seq + 1 :]))


def sweeps(place: Place, me: Sweeper, off: Off) -> Iterator[Step]:
    """Everything that the sweeper may do next."""
    found = facts(place.log)
    if me.at == "decided":
        assert me.entry is not None
        created = place_entry(place, me.seq, me.entry)
        yield from _done(created, me, me.entry, me.seq, f"{me.name}: {me.entry} (created)")
        return
    if me.at == "idle" and me.rounds:
        yield (
            f"{me.name}: reads the log",
            place,
            me._replace(at="marked", marked=len(place.log), live=live_names(found), rounds=me.rounds - 1),
        )
    if me.at == "marked":
        gone = {name for seq, objects in found.forgotten.values() if seq > max(found.condemned, default=-1) for name, _ in objects}
        taken = {one for entry in (*found.condemned.values(), *found.swept.values()) for one in entry.objects}
        garbage = frozenset(one for one in place.store if one[0] not in me.live and one not in taken)
        named = frozenset(one for one in garbage if one[0] in gone)
        if garbage:
            yield f"{me.name}: lists", place, me._replace(at="listed", named=named, unnamed=garbage - named)
        for seq, condemned in found.condemned.items():
            objects = frozenset(one for one in condemned.objects if one[0] not in me.live or "look-again" in off)
            if objects:
                sweep = entry_at(place.log, "SWEEP", me.name, objects=objects, marked=me.marked, condemned=seq)
                if may_sweep(place.log, sweep, off):
                    yield from _append(place, me, sweep, off)
        yield f"{me.name}: goes", place, me._replace(at="idle", named=NOTHING, unnamed=NOTHING, live=frozenset(), marked=0)
    if me.at == "listed":
        for objects, unnamed in ((me.named, False), (me.unnamed, True)):
            if objects and ("condemn-fresh" in off or not any(seq >= me.marked for seq in found.swept)):
                condemn = entry_at(place.log, "CONDEMN", me.name, objects=objects, unnamed=unnamed, marked=me.marked)
                yield from _append(place, me, condemn, off)
        yield f"{me.name}: goes", place, me._replace(at="idle", named=NOTHING, unnamed=NOTHING, live=frozenset(), marked=0)


def lands(place: Place) -> Iterator[tuple[str, Place]]:
    """A delete that is on its way arrives."""
    for one in sorted(place.late):
        yield f"the delete of {one[0]}.{one[1]} arrives", place._replace(store=place.store - {one}, late=place.late - {one})


def may_sweep(log: Log, sweep: Entry, off: Off) -> bool:
    found = facts(log)
    condemned = found.condemned.get(sweep.condemned)
    if condemned is None:
        return False
    waiting = any(seq < sweep.condemned for session, seq in found.opened.items() if session not in found.ended)
    if condemned.unnamed and waiting and "sweep-waits" not in off:
        return False
    if "sweep-compares" in off:
        return True
    since = {entry.about for entry in log[sweep.marked :] if entry.kind == "COMMIT"}
    needed = {name for point, objects in found.live.items() if point in since for name, _ in objects}
    return not any(name in needed for name, _ in sweep.objects)


def _append(place: Place, me: Sweeper, entry: Entry, off: Off) -> Iterator[Step]:
    if entry.kind == "CONDEMN" and "delete-after-sweep" in off:
        place = place._replace(late=place.late | (entry.objects & place.store))
    if "atomic" in off:
        yield f"{me.name}: decides on {entry}", place, me._replace(at="decided", entry=entry, seq=len(place.log))
        return
    yield from _done(place_entry(place, len(place.log), entry), me, entry, len(place.log), f"{me.name}: {entry}")


def _done(place: Place, me: Sweeper, entry: Entry, seq: int, label: str) -> Iterator[Step]:
    idle = me._replace(entry=None, seq=0)
    if entry.kind == "CONDEMN":
        named, unnamed = (me.named, NOTHING) if not entry.unnamed else (NOTHING, me.unnamed)
        left = (me.named - named, me.unnamed - unnamed)
        yield label, place, idle._replace(at="listed", named=left[0], unnamed=left[1])
        return
    if place.log[seq] == entry:  # it reads its SWEEP again before it deletes
        place = place._replace(late=place.late | (entry.objects & place.store))
    yield label, place, idle._replace(at="marked")
