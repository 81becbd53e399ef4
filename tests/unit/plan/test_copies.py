"""The copies ledger of a recovery point: what each location's log says, and nothing that nobody read."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from msgspec import structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.backupsnapshot import REPLICATED, BackupSnapshotStatus, Copy, CopyState, SnapshotVolume, VolumeState
from recoup.api.conditions import Condition, find_condition
from recoup.api.objects import decode
from recoup.plan.copies import count_copies, first_copies, judge_replicated, renew_copies, settle_copies
from recoup.plan.observed import Catalogue, Point
from tests.unit.plan.examples import CREATED, location, policy

DONE = CREATED + timedelta(minutes=5)
NOW = CREATED + timedelta(hours=1)
PLACES = ("frankfurt", "oregon", "basement")


def point(manifest: str, minutes: int = 10) -> Point:
    return Point(id=manifest, session="", manifest=manifest, taken_at=CREATED, here_at=CREATED + timedelta(minutes=minutes))


def log(*manifests: str, forgotten: tuple[str, ...] = (), minutes: int = 10) -> Catalogue:
    return Catalogue(vault="v", points=tuple(point(manifest, minutes) for manifest in manifests), forgotten=frozenset(forgotten))


def run(*states: VolumeState, copies: tuple[Copy, ...] | None = None) -> BackupSnapshotStatus:
    """A run that is over; a volume that is stored has the manifest m0, m1, …"""
    volumes = tuple(
        SnapshotVolume(
            persistent_volume_claim=f"data-{number}", uid=f"u{number}", state=state, manifest=f"m{number}" if state == "Stored" else None
        )
        for number, state in enumerate(states)
    )
    status = BackupSnapshotStatus(location="frankfurt", vault="v", volumes=volumes, completed_at=DONE)
    made = tuple(Copy(location=name, state=CopyState.PENDING if name != "frankfurt" else CopyState.WRITING) for name in PLACES)
    return structs.replace(status, copies=settle_copies(structs.replace(status, copies=made), DONE) if copies is None else copies)


WHOLE = run(VolumeState.STORED, VolumeState.STORED)


def states(copies: tuple[Copy, ...]) -> list[str]:
    return [str(copy.state) for copy in copies]


def replicated(status: BackupSnapshotStatus) -> Condition | None:
    return find_condition(judge_replicated((), status, now=NOW, generation=1), REPLICATED)


def test_a_run_begins_with_an_entry_for_each_location_of_the_policy() -> None:
    said = decode(BackupPolicy, policy(locations=[{"name": name} for name in PLACES[:2]]))
    known = {"oregon": decode(BackupLocation, location(spec={"provider": "acme", "region": "us"}))}
    copies = first_copies(said, known)
    assert states(copies) == ["Writing", "Pending"]
    assert (copies[1].provider, copies[1].region, copies[0].region) == ("acme", "us", None)


@pytest.mark.parametrize(
    ("status", "logs", "expected"),
    [
        (WHOLE, {}, ["Complete", "Pending", "Pending"]),
        (WHOLE, {"oregon": log()}, ["Complete", "Pending", "Pending"]),
        (WHOLE, {"oregon": log("m0")}, ["Complete", "Incomplete", "Pending"]),
        (WHOLE, {"oregon": log("m0", "m1", "other")}, ["Complete", "Complete", "Pending"]),
        (WHOLE, {"frankfurt": log(forgotten=("m0", "m1")), "oregon": log("m1", "m0")}, ["Forgotten", "Complete", "Pending"]),
        (WHOLE, {"frankfurt": log("m1", forgotten=("m0",))}, ["Incomplete", "Pending", "Pending"]),
        (WHOLE, {"frankfurt": log()}, ["Complete", "Pending", "Pending"]),
        (run(VolumeState.STORED, VolumeState.FAILED), {"oregon": log("m0")}, ["Incomplete", "Incomplete", "Pending"]),
        (run(VolumeState.FAILED), {"oregon": log("m9")}, ["Incomplete", "Pending", "Pending"]),
    ],
)
def test_an_entry_says_what_the_locations_log_says(status: BackupSnapshotStatus, logs: dict[str, Catalogue], expected: list[str]) -> None:
    copies = renew_copies(status, PLACES, {}, logs, NOW)
    assert states(copies) == expected
    assert renew_copies(structs.replace(status, copies=copies), PLACES, {}, logs, NOW + timedelta(days=1)) == copies, "no write at rest"


def test_in_whatever_order_logs_of_any_age_are_looked_at_the_end_is_the_same() -> None:
    ages = [log(), log("m0"), log("m0", "m1"), log(forgotten=("m0", "m1"))]
    for order in permutations(ages):
        status = WHOLE
        for catalogue in order:
            status = structs.replace(status, copies=renew_copies(status, PLACES, {}, {"oregon": catalogue}, NOW))
        assert states(status.copies) == ["Complete", "Forgotten", "Pending"]


def test_the_time_is_that_of_the_log_but_never_later_than_now() -> None:
    honest = renew_copies(WHOLE, PLACES, {}, {"oregon": log("m0", "m1", minutes=12)}, NOW)
    assert honest[1].at == CREATED + timedelta(minutes=12)
    future = renew_copies(WHOLE, PLACES, {}, {"oregon": log("m0", "m1", minutes=10**6)}, NOW)
    assert future[1].at == NOW
    assert honest[0].at == DONE


def test_what_a_former_location_holds_stays_and_what_it_never_got_goes() -> None:
    held = structs.replace(WHOLE, copies=renew_copies(WHOLE, PLACES, {}, {"oregon": log("m0", "m1")}, NOW))
    copies = renew_copies(held, ("frankfurt", "tokyo"), {}, {}, NOW)
    assert [(copy.location, str(copy.state)) for copy in copies] == [
        ("frankfurt", "Complete"), ("tokyo", "Pending"), ("oregon", "Complete"),
    ]  # fmt: skip
    assert renew_copies(held, (), {}, {}, NOW) == held.copies, "without the policy nothing is known of what is wanted"


@pytest.mark.parametrize(
    ("logs", "status", "reason", "words"),
    [
        ({}, "False", "CopyPending", "1 of 3 locations hold it; oregon has not got it yet; basement has not got it yet"),
        ({"oregon": log("m0"), "basement": log("m0", "m1")}, "False", "CopyIncomplete", "oregon holds only some of its volumes"),
        ({"oregon": log("m0", "m1"), "basement": log("m0", "m1")}, "True", "Replicated", "3 of 3 locations hold it"),
        ({"oregon": log("m0", "m1"), "basement": log(forgotten=("m0", "m1"))}, "True", "Replicated", "basement: forgotten by retention"),
    ],
)
def test_replicated_names_the_location_and_what_it_lacks(logs: dict[str, Catalogue], status: str, reason: str, words: str) -> None:
    copies = renew_copies(WHOLE, PLACES, {}, logs, NOW)
    found = replicated(structs.replace(WHOLE, copies=copies))
    assert found is not None
    assert (str(found.status), found.reason) == (status, reason)
    assert words in found.message


def test_nothing_is_said_of_replication_with_one_location_or_before_the_end() -> None:
    assert replicated(structs.replace(WHOLE, copies=WHOLE.copies[:1])) is None
    assert replicated(structs.replace(WHOLE, completed_at=None)) is None
    nothing = replicated(run(VolumeState.FAILED, VolumeState.CANCELLED))
    assert nothing is not None
    assert nothing.reason == "NothingStored"


def test_the_column_counts_complete_copies() -> None:
    assert count_copies(renew_copies(WHOLE, PLACES, {}, {"oregon": log("m0", "m1"), "basement": log("m1")}, NOW)) == "2/3"
    assert count_copies(()) is None
