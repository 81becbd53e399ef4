"""A copy: replicators, sweepers of the copy's own log, points forgotten at either place, deletes that arrive late.

| rule in the model | what it stands for |
|---|---|
| incarnations | format.md section 1, `PointCopier._missing`: what was swept is put again under the next incarnation |
| mirror-compares | `sets._named` for a MIRROR: nothing of it is in any SWEEP here |
| mirror-once | `mirror_objection`: the point is not live here |
| mirror-forgotten | `mirror_objection`: the point was not forgotten here |
| put-first | `_Run._copy_point`: a MIRROR after every object was put or read back here |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.property.model.logs import Entry, Objects, Place, facts, swept_since
from tests.property.model.sweeper import Off, Sweeper, entry_at, lands, place_entry, sweeps

NAME = "X"
"""The one object that every point needs."""


class Replicator(NamedTuple):
    name: str
    at: str = "idle"
    """idle → planned → put → idle; decided: has read the head and not created yet."""
    point: str = ""
    incarnation: int = 0
    entry: Entry | None = None
    seq: int = 0


class Copy(NamedTuple):
    offered: tuple[str, ...]
    """Points that are live at the home."""
    place: Place
    replicators: tuple[Replicator, ...]
    sweepers: tuple[Sweeper, ...]
    forgets: int
    """How often a point may still be forgotten, here or at home."""


def begin(points: int, replicators: int, sweepers: int, rounds: int, forgets: int) -> Copy:
    return Copy(
        tuple(f"P{number}" for number in range(points)),
        Place(),
        tuple(Replicator(f"R{number}") for number in range(replicators)),
        tuple(Sweeper(f"S{number}", rounds) for number in range(sweepers)),
        forgets,
    )


def steps(copy: Copy, off: Off) -> Iterator[tuple[str, Copy]]:
    place = copy.place
    for number, replicator in enumerate(copy.replicators):
        for label, there, then in _copies(copy, replicator, off):
            yield label, copy._replace(place=there, replicators=(*copy.replicators[:number], then, *copy.replicators[number + 1 :]))
    for number, sweeper in enumerate(copy.sweepers):
        for label, there, swept in sweeps(place, sweeper, off):
            yield label, copy._replace(place=there, sweepers=(*copy.sweepers[:number], swept, *copy.sweepers[number + 1 :]))
    for label, there in lands(place):
        yield label, copy._replace(place=there)
    if copy.forgets:
        for point in facts(place.log).live:
            gone = place_entry(place, len(place.log), entry_at(place.log, "FORGET", "person", about=point))
            yield f"FORGET {point} at the copy", copy._replace(place=gone, forgets=copy.forgets - 1)
        for point in copy.offered:
            left = tuple(one for one in copy.offered if one != point)
            yield f"the home forgets {point}", copy._replace(offered=left, forgets=copy.forgets - 1)


def _copies(copy: Copy, me: Replicator, off: Off) -> Iterator[tuple[str, Place, Replicator]]:
    place, found = copy.place, facts(copy.place.log)
    idle = Replicator(me.name)
    if me.at == "decided":
        assert me.entry is not None
        yield f"{me.name}: {me.entry} (created)", place_entry(place, me.seq, me.entry), idle
        return
    if me.at == "idle":
        for point in copy.offered:
            if (point in found.live and "mirror-once" not in off) or (point in found.forgotten and "mirror-forgotten" not in off):
                continue
            yield (
                f"{me.name}: reads the log for {point}",
                place,
                me._replace(at="planned", point=point, incarnation=_incarnation(place, off)),
            )
    if me.at == "planned":
        one = (NAME, me.incarnation)
        if "put-first" in off or one in place.store:
            yield f"{me.name}: finds X.{me.incarnation}", place, me._replace(at="put")
        elif copy.offered:
            yield f"{me.name}: puts X.{me.incarnation}", place._replace(store=place.store | {one}), me._replace(at="put")
        else:  # the home has let go of it
            yield f"{me.name}: passes over {me.point}", place, idle
    if me.at == "put":
        yield from _mirrors(place, me, off)


def _incarnation(place: Place, off: Off) -> int:
    """Where X is, or may be put: as a live point names it, else behind what was swept."""
    found = facts(place.log)
    named = [k for objects in found.live.values() for _, k in objects]
    if named and "put-first" not in off:
        return max(named)
    swept = [k for _, k in swept_since(place.log, -1)]
    return 0 if "incarnations" in off else max(swept, default=-1) + 1


def _mirrors(place: Place, me: Replicator, off: Off) -> Iterator[tuple[str, Place, Replicator]]:
    found, idle = facts(place.log), Replicator(me.name)
    objects: Objects = frozenset({(NAME, me.incarnation)})
    refused = (
        (me.point in found.live and "mirror-once" not in off)
        or (me.point in found.forgotten and "mirror-forgotten" not in off)
        or ("mirror-compares" not in off and bool(objects & swept_since(place.log, -1)))
    )
    if refused:
        yield f"{me.name}: its MIRROR of {me.point} is refused", place, idle
        return
    mirror = entry_at(place.log, "COMMIT", me.name, about=me.point, objects=objects)
    if "atomic" in off:
        yield (
            f"{me.name}: decides on MIRROR {me.point} X.{me.incarnation}",
            place,
            me._replace(at="decided", entry=mirror, seq=len(place.log)),
        )
        return
    yield f"{me.name}: MIRROR {me.point} X.{me.incarnation}", place_entry(place, len(place.log), mirror), idle


def wrong(copy: Copy) -> str:
    place, found = copy.place, facts(copy.place.log)
    for point, objects in found.live.items():
        if point in found.forgotten:
            return f"{point} was forgotten here and is back"
        for one in sorted(objects):
            if one not in place.store:
                return f"{point} is live and {one[0]}.{one[1]} is gone"
            if one in place.late:
                return f"{point} is live and a delete of {one[0]}.{one[1]} is on its way"
    return "one point has two MIRRORs" if found.twice else ""


def good(copy: Copy) -> bool:
    """Everything that the home has is here, or was forgotten here."""
    found = facts(copy.place.log)
    return all(point in found.live or point in found.forgotten for point in copy.offered)
