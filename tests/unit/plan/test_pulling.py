"""Copies of other clusters' vaults that a location pulls: which Jobs, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec import structs

from recoup.api.backuplocation import PULLED, BackupLocation, Pull, PullStatus, Vault
from recoup.api.conditions import Conditions, find_condition
from recoup.api.objects import decode
from recoup.plan.actions import Create, Delete
from recoup.plan.observed import ApiFailure, Catalogue, Point
from recoup.plan.pulling import (
    AT_ONCE,
    COPYING_FOR,
    PulledVault,
    Pulling,
    PullObserved,
    PullSource,
    foreign_vaults,
    judge_pulls,
    plan_pulls,
)
from tests.unit.plan.examples import AROUND, CREATED, Object, condition, location, text

NOW = CREATED + timedelta(hours=3)
NOTHING_HERE = ApiFailure(reason="NoVault", message="the log is empty", at=NOW)
GOOD = [condition("Reachable", "True"), condition("Conformant", "True")]


def point(manifest: str, hours: float = 1) -> Point:
    taken = CREATED + timedelta(hours=hours)
    return Point(id=manifest, session="", manifest=manifest, taken_at=taken, here_at=taken)


def log(*points: str, vault: str = "v", fingerprint: str = "fp") -> Catalogue:
    made = tuple(point(name, hours) for hours, name in enumerate(points))
    return Catalogue(vault=vault, fingerprint=fingerprint, points=made, revision="keys")


def place(name: str, conditions: list[Object] | None = None, **spec: object) -> BackupLocation:
    made = location(spec=spec, status={"conditions": GOOD if conditions is None else conditions})
    made["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    return decode(BackupLocation, made)


def vault(vault_id: str = "v", cluster: str = "theirs") -> Vault:
    return Vault(id=vault_id, namespace="shop", namespace_uid="u", fingerprint="fp", cluster=cluster)


def pulled(offered: Catalogue | None, held: Catalogue | None, vault_id: str = "v") -> PulledVault:
    failure = NOTHING_HERE if held is None else None
    return PulledVault(vault=vault(vault_id), offered=offered, held=held, held_failure=failure)


def source(*vaults: PulledVault, name: str = "theirs", conditions: list[Object] | None = None) -> PullSource:
    return PullSource(name=name, location=place(name, conditions, accessMode="ReadOnly"), vaults=vaults)


def look(*sources: PullSource, target: BackupLocation | None = None, children: Sequence[Object] = ()) -> Pulling:
    asked = PullObserved(target=target or place("bunker"), around=AROUND, sources=sources, children=tuple(children))
    return plan_pulls(asked, NOW)


def created(pulling: Pulling) -> list[Object]:
    return [action.object for action in pulling.actions if isinstance(action, Create)]


def ended(job: Object, kind: str) -> Object:
    status = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": text(NOW), "reason": "BackoffLimitExceeded"}]}
    return job | {"metadata": job["metadata"] | {"uid": "job-uid", "creationTimestamp": text(NOW)}, "status": status}


def test_what_is_not_here_is_copied_without_a_key_and_as_the_vault_that_was_seen_first() -> None:
    [job] = created(look(source(pulled(log("a", "b"), None))))
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[0] == "replicate"
    assert arguments[arguments.index("--vault") + 1] == "v"
    assert arguments[arguments.index("--fingerprint") + 1] == "fp"
    assert not any("key" in argument for argument in arguments)
    assert job["metadata"]["labels"]["recoup.dev/owner-uid"] == "bunker-uid"


def test_what_is_here_asks_for_nothing() -> None:
    found = look(source(pulled(log("a", "b"), log("a", "b"))))
    assert created(found) == []
    assert found.lines == (PullStatus(source="theirs", vaults=1, complete=1),)


def test_what_went_there_stays_here() -> None:
    assert created(look(source(pulled(log("b"), log("a", "b"))))) == []


def test_the_age_of_the_copies_is_told() -> None:
    [line] = look(source(pulled(log("a", "b", "c"), log("a")))).lines
    assert (line.vaults, line.complete, line.behind_since) == (1, 0, CREATED + timedelta(hours=1))


def test_only_some_jobs_run_at_the_same_time_and_the_others_follow() -> None:
    vaults = [pulled(log("a", vault=f"v{n}"), None, f"v{n}") for n in range(AT_ONCE + 3)]
    first = created(look(source(*vaults)))
    assert len(first) == AT_ONCE
    running = [job | {"metadata": job["metadata"] | {"uid": job["metadata"]["name"], "creationTimestamp": text(NOW)}} for job in first]
    assert created(look(source(*vaults), children=running)) == []
    over = ended(running[0], "Complete")
    done = [pulled(log("a", vault="v0"), log("a", vault="v0"), "v0"), *vaults[1:]]
    found = look(source(*done), children=[over, *running[1:]])
    assert len(created(found)) == 1
    assert [action.name for action in found.actions if isinstance(action, Delete)] == [over["metadata"]["name"]]


def test_a_vault_at_two_places_is_copied_once_from_the_first_that_can_be_read() -> None:
    away = ApiFailure(reason="AccessDenied", message="no", at=NOW)
    both = (source(pulled(log("a"), None)), source(pulled(log("a"), None), name="elsewhere"))
    [job] = created(look(*both))
    blind = source(PulledVault(vault=vault(), offered_failure=away, held_failure=NOTHING_HERE))
    [other] = created(look(blind, both[1]))
    assert job["metadata"]["name"] != other["metadata"]["name"]


def test_a_planted_vault_is_not_copied() -> None:
    found = look(source(pulled(log("a", fingerprint="another"), None)))
    assert created(found) == []
    assert found.lines[0].reason == "VaultChanged"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (look(PullSource(name="gone")), "LocationNotFound"),
        (look(PullSource(name="theirs", location=place("theirs"))), "VaultsNotListed"),
        (look(source(conditions=[condition("Reachable", "False", "LocationUnreachable", "refused")])), "LocationUnreachable"),
        (look(source(), target=place("bunker", [])), "LocationNotProbed"),
    ],
    ids=["no such location", "it lists no vaults", "it does not answer", "nothing is known of the target"],
)
def test_what_is_in_the_way_is_said(found: Pulling, reason: str) -> None:
    assert created(found) == []
    assert found.lines[0].reason == reason
    said = find_condition(judge_pulls((), found.lines, 1, NOW), PULLED)
    assert said is not None
    assert (said.status, said.reason) == ("False", reason)


def test_a_job_that_failed_is_told_and_tried_again_later() -> None:
    vaults = source(pulled(log("a"), None))
    [job] = created(look(vaults))
    found = look(vaults, children=[ended(job, "Failed")])
    assert found.actions == ()
    assert found.lines[0].reason
    assert found.again is not None


def judged(line: PullStatus, before: Conditions = ()) -> Conditions:
    return judge_pulls(before, (line,), 1, NOW)


def test_a_new_recovery_point_on_its_way_does_not_turn_the_condition() -> None:
    complete = judged(PullStatus(source="theirs", vaults=2, complete=2))
    assert [(each.status, each.reason) for each in complete] == [("True", "Complete")]
    young = PullStatus(source="theirs", vaults=2, complete=1, behind_since=NOW - COPYING_FOR / 2)
    assert judged(young, complete) == complete
    assert [each.reason for each in judged(young)] == ["Copying"], "the first copy was never complete"
    old = PullStatus(source="theirs", vaults=2, complete=1, behind_since=NOW - COPYING_FOR)
    assert [each.reason for each in judged(old, complete)] == ["Copying"]


def test_without_sources_there_is_no_condition() -> None:
    assert judge_pulls(judged(PullStatus(source="theirs")), (), 1, NOW) == ()
    assert look() == Pulling()


def test_vaults_of_this_cluster_are_its_policies_matter() -> None:
    mine, theirs = vault("m", AROUND.cluster_uid), vault("t")
    seen = location(
        status={
            "vaults": [
                {"id": one.id, "namespace": "n", "namespaceUid": "u", "fingerprint": "f", "cluster": one.cluster} for one in (mine, theirs)
            ]
        }
    )
    assert [one.id for one in foreign_vaults(decode(BackupLocation, seen), AROUND)] == ["t"]
    assert Pull(source="x").source == "x"


def test_what_is_done_to_a_point_there_is_not_taken_over() -> None:
    """Repacked or unpinned there: no Job. Pinned there: a Job, because that takes nothing away. Each adds and changes nothing."""
    held = log("a")
    elsewhere = structs.replace(held, points=(structs.replace(held.points[0], revision="another object set"),))
    pinned = structs.replace(held, points=(structs.replace(held.points[0], revision="audit", pinned="audit"),))
    assert created(look(source(pulled(elsewhere, held)))) == []
    assert created(look(source(pulled(held, pinned)))) == []
    [job] = created(look(source(pulled(pinned, held))))
    assert "--add-only" in job["spec"]["template"]["spec"]["containers"][0]["args"]
