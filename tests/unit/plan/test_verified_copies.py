"""What a BackupSnapshot says of its copies: verified is what every volume of was found good, damaged is named with its place."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import structs

from recoup.api.backupsnapshot import VERIFIED, BackupSnapshotStatus, CopyState, VolumeState
from recoup.api.conditions import Condition, find_condition
from recoup.plan.copies import renew_copies
from recoup.plan.observed import Catalogue, PointDamage
from recoup.plan.verified_copies import judge_verified_copies, last_verified
from tests.unit.plan.test_copies import NOW, PLACES, point, run

WHOLE = run(VolumeState.STORED, VolumeState.STORED)
HURT = PointDamage(since=NOW, at=NOW, paths=1)


def log(*times: int | None, damaged: tuple[str, ...] = (), levels: tuple[int, ...] = (2, 3)) -> Catalogue:
    """m0, m1, … verified so many hours ago."""
    made = [
        structs.replace(
            point(f"m{number}"),
            verified_at=None if hours is None else NOW - timedelta(hours=hours),
            verified_level=None if hours is None else levels[number],
            damage=HURT if f"m{number}" in damaged else None,
        )
        for number, hours in enumerate(times)
    ]
    return Catalogue(vault="v", points=tuple(made))


def look(status: BackupSnapshotStatus, **logs: Catalogue) -> BackupSnapshotStatus:
    return structs.replace(status, copies=renew_copies(status, PLACES[:2], {}, logs, NOW))


def said(status: BackupSnapshotStatus) -> Condition | None:
    return find_condition(judge_verified_copies((), status, now=NOW, generation=1), VERIFIED)


def hours_ago(hours: int) -> datetime:
    return NOW - timedelta(hours=hours)


def test_a_copy_is_verified_since_the_volume_that_was_looked_at_first_and_as_deep_as_the_shallowest() -> None:
    seen = look(WHOLE, frankfurt=log(2, 5), oregon=log(1, None))
    frankfurt, oregon = seen.copies
    assert (frankfurt.verified_at, frankfurt.verified_level, frankfurt.state) == (hours_ago(5), 2, CopyState.COMPLETE)
    assert oregon.verified_at is None
    assert last_verified(seen.copies) == hours_ago(5)
    condition = said(seen)
    assert condition is not None
    assert (condition.status, condition.message) == ("True", f"frankfurt at level 2, {hours_ago(5):%Y-%m-%dT%H:%M:%SZ}")


def test_nothing_is_said_before_anybody_looked() -> None:
    assert said(look(WHOLE, frankfurt=log(None, None))) is None


def test_damage_names_place_and_volume_and_where_to_restore_from() -> None:
    condition = said(look(WHOLE, frankfurt=log(1, 1, damaged=("m1",)), oregon=log(1, 1)))
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "Damaged")
    assert "frankfurt: PVC data-1 cannot" in condition.message
    assert "restore from oregon" in condition.message


def test_damage_everywhere_advises_another_point() -> None:
    hurt = log(1, 1, damaged=("m0",))
    condition = said(look(WHOLE, frankfurt=hurt, oregon=hurt))
    assert condition is not None
    assert condition.message.count("data-0") == 2
    assert "another recovery point" in condition.message


def test_what_was_healed_is_damaged_no_longer() -> None:
    hurt = look(WHOLE, frankfurt=log(1, 1, damaged=("m0",)))
    condition = said(look(hurt, frankfurt=log(0, 0)))
    assert condition is not None
    assert condition.status == "True"


def test_a_log_that_nobody_read_changes_nothing() -> None:
    hurt = look(WHOLE, frankfurt=log(1, 1, damaged=("m0",)))
    assert look(hurt).copies[0] == hurt.copies[0]


def test_a_copy_that_retention_let_go_is_no_damage() -> None:
    hurt = look(WHOLE, frankfurt=log(1, 1, damaged=("m0",)))
    gone = Catalogue(vault="v", forgotten=frozenset({"m0", "m1"}))
    assert look(hurt, frankfurt=gone).copies[0].damaged == ()
