"""The home: writers whose runs share an object, sweepers, one who forgets, deletes that arrive late.

| rule in the model | what it stands for |
|---|---|
| open-first | session.py: OPEN before anything is put |
| refer-live | dedup.py, resume.py: only what a live point names and no CONDEMN or SWEEP does is referred to |
| commit-once | `rules._commit`: the session has no COMMIT |
| commit-after-abort | `rules._commit`: its OPEN was not aborted |
| commit-compares | `sets._named`: a COMMIT names nothing that was swept since the session's first OPEN |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.property.model.logs import NOTHING, Entry, Log, Objects, Place, facts, swept_since
from tests.property.model.sweeper import Off, Sweeper, entry_at, lands, place_entry, sweeps

SHARED = ("X", 0)


class Writer(NamedTuple):
    session: str
    at: str = "new"
    """new → open → stored → told (of its COMMIT) or dead; decided: has read the head and not created yet."""
    objects: Objects = NOTHING
    put: Objects = NOTHING
    tries: int = 0
    entry: Entry | None = None
    seq: int = 0


class Home(NamedTuple):
    place: Place
    writers: tuple[Writer, ...]
    sweepers: tuple[Sweeper, ...]
    forgets: int
    aborts: int


def begin(writers: int, sweepers: int, rounds: int, forgets: int = 1, aborts: int = 1) -> Home:
    """One point, P, is there, and needs X."""
    opened = Entry("OPEN", "past", None, "P")
    log: Log = (opened, Entry("COMMIT", "past", opened, "P", frozenset({SHARED})))
    return Home(
        Place(log, frozenset({SHARED})),
        tuple(Writer(f"W{number}") for number in range(writers)),
        tuple(Sweeper(f"S{number}", rounds) for number in range(sweepers)),
        forgets,
        aborts,
    )


def steps(home: Home, off: Off) -> Iterator[tuple[str, Home]]:
    place = home.place
    found = facts(place.log)
    for number, writer in enumerate(home.writers):
        for label, there, then in _writes(place, writer, off):
            yield label, home._replace(place=there, writers=(*home.writers[:number], then, *home.writers[number + 1 :]))
    for number, sweeper in enumerate(home.sweepers):
        for label, there, swept in sweeps(place, sweeper, off):
            yield label, home._replace(place=there, sweepers=(*home.sweepers[:number], swept, *home.sweepers[number + 1 :]))
    for label, there in lands(place):
        yield label, home._replace(place=there)
    if home.forgets:
        for point in found.live:
            gone = place_entry(place, len(place.log), entry_at(place.log, "FORGET", "person", about=point))
            yield f"FORGET {point}", home._replace(place=gone, forgets=home.forgets - 1)
    if home.aborts:
        for session in found.opened:
            if session not in found.ended:
                over = place_entry(place, len(place.log), entry_at(place.log, "ABORT", "sweeper", about=session))
                yield f"ABORT {session} (nobody heard of it for 30 days)", home._replace(place=over, aborts=home.aborts - 1)


def _writes(place: Place, me: Writer, off: Off) -> Iterator[tuple[str, Place, Writer]]:
    found, name = facts(place.log), me.session
    if me.at == "decided":
        assert me.entry is not None
        yield f"{name}: {me.entry} (created)", place_entry(place, me.seq, me.entry), me._replace(at="told", entry=None, seq=0)
        return
    if me.at == "new":
        if "open-first" in off and not me.put:
            own = frozenset({(f"{name}-{me.tries}", 0)})
            yield f"{name}: puts its own before OPEN", place._replace(store=place.store | own), me._replace(put=own)
        opened = place_entry(place, len(place.log), entry_at(place.log, "OPEN", name, about=name))
        yield f"{name}: OPEN", opened, me._replace(at="open" if not me.put else "stored", objects=me.put)
    if me.at == "open":
        own = frozenset({(f"{name}-{me.tries}", 0)})
        yield f"{name}: puts its own", place._replace(store=place.store | own), me._replace(at="stored", objects=own, put=own)
        barred = {one for entry in (*found.condemned.values(), *found.swept.values()) for one in entry.objects}
        known = any(SHARED in objects for objects in found.live.values()) and SHARED not in barred
        if known or "refer-live" in off:
            yield f"{name}: refers to X", place, me._replace(at="stored", objects=frozenset({SHARED}))
    if me.at == "stored":
        yield from _commits(place, me, off)
        if name in found.aborted and "commit-after-abort" not in off:
            yield f"{name}: was ended, gives up", place, me._replace(at="dead")


def _commits(place: Place, me: Writer, off: Off) -> Iterator[tuple[str, Place, Writer]]:
    found, name = facts(place.log), me.session
    if name in found.aborted and "commit-after-abort" not in off:
        return
    if (name in found.live or name in found.forgotten) and "commit-once" not in off:
        yield f"{name}: hears that it was committed", place, me._replace(at="told")
        return
    if "commit-compares" not in off and me.objects & swept_since(place.log, found.opened.get(name, -1)):
        yield f"{name}: something was swept, again", place, me._replace(at="open", objects=NOTHING, put=NOTHING, tries=me.tries + 1)
        return
    commit = entry_at(place.log, "COMMIT", name, about=name, objects=me.objects)
    if "atomic" in off:
        yield f"{name}: decides on {commit}", place, me._replace(at="decided", entry=commit, seq=len(place.log))
        return
    there = place_entry(place, len(place.log), commit)
    yield f"{name}: {commit}", there, me._replace(at="told")
    if not me.tries:
        yield f"{name}: {commit}, and its answer is lost", there, me._replace(tries=1)


def wrong(home: Home) -> str:
    place, found = home.place, facts(home.place.log)
    for point, objects in found.live.items():
        for one in sorted(objects):
            if one not in place.store:
                return f"{point} is live and {one[0]}.{one[1]} is gone"
            if one in place.late:
                return f"{point} is live and a delete of {one[0]}.{one[1]} is on its way"
        if point in found.aborted:
            return f"{point} was ended by an ABORT and has a recovery point all the same"
    if found.twice:
        return "one session has two COMMITs"
    for writer in home.writers:
        known = writer.session in found.live or writer.session in found.forgotten
        if writer.at == "told" and not known:
            return f"{writer.session} was told that its COMMIT stands, and it does not"
        if writer.at in {"open", "stored"} and writer.session not in found.ended and not writer.put <= place.store - place.late:
            return f"{writer.session} is at work, and what it has put was deleted"
    return ""


def good(home: Home) -> bool:
    """Everybody has finished."""
    return all(writer.at in {"told", "dead"} for writer in home.writers)
