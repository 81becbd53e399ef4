"""Verification at level 3 notices every changed bit, every length, every swap and replay, and names the object.

With the digest's comparison in `ObjectChecker` taken away all tests of objects fail; with the signature's in `LogState` that of the bits of
log entries.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from recoup.engine.verify.findings import Findings
from recoup.engine.verify.run import verify
from recoup.errors import Integrity
from tests.faults.bits.small import QUIET, Small, flipped

EVERY = [pytest.param(1, marks=pytest.mark.long, id="every-one"), pytest.param(97, id="some")]
"""Every bit or length in the long selection; every 97th in the quick one (a prime: other bits of other bytes)."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small.make(tmp_path_factory.mktemp("small"))


def named(found: Findings) -> set[str]:
    return {damage.name for damage in found.damages.values()}


def leaves(small: Small) -> list[str]:
    """Objects that hide no other one when they are damaged: all but the nodes of object sets."""
    return sorted({*small.area("dmx")} - {*small.sets()})


def single(small: Small) -> list[str]:
    """What must be harmed one at a time."""
    return [*small.sets(), *small.area("kl")]


def noticed(small: Small, name: str, data: bytes | None) -> bool:
    """Whether something is said, by its name, when `name` holds `data`."""
    try:
        found = small.verify(small.place({name: data}))
    except Integrity as error:  # without its INIT it is no vault
        return name.endswith("/log/" + 16 * "0") and error.reason in {"NoVault", "RootMismatch"}
    if "/log/" in name:
        return bool(found.log)
    short = name.rpartition("/")[2]
    said = [*found.log, *(affected.whole for affected in found.affected), *named(found)]
    return not found.good and any(short in text for text in said)


def test_undisturbed_all_is_good(small: Small) -> None:
    found = small.verify(small.place())
    assert found.good
    assert found.objects == len(leaves(small)) + len(small.sets())


@pytest.mark.parametrize("step", EVERY)
def test_every_bit_of_every_object(small: Small, step: int) -> None:
    """One bit of each object at a time, in all objects at once: each must be named."""
    names, flips = leaves(small), 0
    for bit in range(0, 8 * max(len(small.objects[name]) for name in names), step):
        harmed = {name: flipped(small.objects[name], bit) for name in names if bit < 8 * len(small.objects[name])}
        assert named(small.verify(small.place({**harmed}))) == set(harmed)
        flips += len(harmed)
    print(f"{flips} bits of {len(names)} objects, each noticed and named")
    assert flips > 1_000


@pytest.mark.parametrize("step", EVERY)
def test_every_bit_of_sets_keyrings_descriptors_and_the_log(small: Small, step: int) -> None:
    names, flips = single(small), 0
    for name in names:
        for bit in range(len(name) % step, 8 * len(small.objects[name]), step):
            assert noticed(small, name, flipped(small.objects[name], bit)), (name, bit)
            flips += 1
    print(f"{flips} bits of {len(names)} set nodes, keyrings, descriptors and log entries, each noticed")
    assert flips > 500


@pytest.mark.parametrize("step", EVERY)
def test_every_length(small: Small, step: int) -> None:
    """Cut at each length, nothing at all, and longer by some bytes."""
    names, cuts = leaves(small), 0
    for length in range(0, max(len(small.objects[name]) for name in names), step):
        harmed = {name: small.objects[name][:length] for name in names if length < len(small.objects[name])}
        assert named(small.verify(small.place({**harmed}))) == set(harmed)
        cuts += len(harmed)
    for name in single(small):
        for length in range(0, len(small.objects[name]), step):
            assert noticed(small, name, small.objects[name][:length]), (name, length)
            cuts += 1
    longer = {name: small.objects[name] + more for name in names for more in (b"\0",)}
    assert named(small.verify(small.place({**longer}))) == set(longer)
    for name in single(small):
        for more in (b"\0", small.objects[name], bytes(70_000)):
            assert noticed(small, name, small.objects[name] + more), name
    assert named(small.verify(small.place(dict.fromkeys(names)))) == set(names)
    print(f"{cuts} cuts, each noticed")


def test_every_swap_of_two_objects(small: Small) -> None:
    """Each object in the place of each other one, of whatever kind."""
    names = leaves(small)
    for turn in range(1, len(names)):
        harmed = {name: small.objects[names[(at + turn) % len(names)]] for at, name in enumerate(names)}
        assert named(small.verify(small.place({**harmed}))) == set(harmed)
    for name in single(small):
        for other in single(small):
            if other != name:
                assert noticed(small, name, small.objects[other]), (name, other)
    print(f"{len(names) * (len(names) - 1) + len(single(small)) * (len(single(small)) - 1)} swaps, each noticed")


def test_an_older_log_entry_again_changes_nothing(small: Small) -> None:
    """Behind the head, each entry of the log once more, also one of the copy's log: nobody takes it for a new one."""
    entries = small.area("l")
    before = small.open(small.place())
    next_name = entries[-1][:-16] + f"{len(entries):016x}"
    for old in [*(small.objects[name] for name in entries), *(data for name, data in small.copy.objects.items() if "/log/" in name)]:
        after = small.open(small.place({next_name: old})).log.state
        assert list(after.commits) == list(before.log.state.commits)
        assert after.previous == before.log.state.previous
        assert after.invalid == 1
        assert small.verify(small.place({next_name: old})).log


def test_a_log_that_was_set_back_is_not_noticed_from_within_but_by_its_copy(small: Small) -> None:
    """Without its last entries a log is a log: only somebody who has seen more can tell. The copy has: its MIRRORs name later entries."""
    entries = small.area("l")
    older = small.place(dict.fromkeys(entries[-2:]))
    assert small.verify(older).good
    assert len(small.open(older).log.state.commits) == 1
    assert len(small.open(small.copy).log.state.commits) == 2


def test_objects_of_another_vault(small: Small, tmp_path: Path) -> None:
    """Under the names of ours; and another vault's whole log, with objects and keyrings, in the place of ours."""
    other = Small.make(tmp_path)
    ours, theirs = leaves(small), leaves(other)
    harmed = {name: other.objects[theirs[at % len(theirs)]] for at, name in enumerate(ours)}
    assert named(small.verify(small.place({**harmed}))) == set(harmed)
    for name, foreign in zip(single(small), single(other), strict=False):
        assert noticed(small, name, other.objects[foreign])


def test_what_was_found_is_written_down(small: Small) -> None:
    """The log says afterwards which points were good; what is damaged is in no ATTEST."""
    name = small.area("d")[0]
    opened = small.open(small.place({name: flipped(small.objects[name], 4_000)}))
    found = verify(opened, list(opened.log.state.commits.values()), 3, QUIET, record=True)
    attested = {manifest.hex() for one in opened.log.state.attests for manifest in one.body.manifests}
    assert attested == set(small.points) - {affected.point for affected in found.affected}
    assert {ref.digest.hex() for ref in opened.log.state.damaged} == {name.rpartition("/")[2]}
