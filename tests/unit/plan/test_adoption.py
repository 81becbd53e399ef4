"""Vaults made elsewhere: opened once, by a Job that only reads, and never in a storm."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup.api.backuplocation import BackupLocation, Vault
from recoup.api.objects import decode
from recoup.plan.access import check_namespace
from recoup.plan.actions import Create, Delete
from recoup.plan.adoption import Listing
from recoup.plan.location import LocationObserved, plan_location
from recoup.plan.location_conditions import Reading
from recoup.plan.observed import Surroundings
from recoup.plan.snapshot_resolve import home_vault
from tests.unit.plan.examples import Object, location, text
from tests.unit.plan.test_location import pod_of, said, status

NOW = datetime(2026, 11, 1, 13, tzinfo=UTC)
AROUND = Surroundings(image="recoup:test")
ONE, TWO = "1" * 32, "2" * 32
KNOWN = Vault(id=ONE, namespace="shop", namespace_uid="old-shop", fingerprint="recoupvault1a")


def subject(**spec: Any) -> Object:
    found = location(status={})
    return found | {"spec": found["spec"] | {"accessMode": "ReadOnly"} | spec}


def look(place: Object, now: datetime = NOW, **observed: Any) -> Any:
    usual: dict[str, Any] = {"reading": Reading(repository_id="ab" * 16), "listing": Listing(vaults=(ONE, TWO)), "vaults": (KNOWN,)}
    return plan_location(LocationObserved(location=place, around=AROUND, **usual | observed), now)


def job_of(plan: Any) -> Object:
    (made,) = [action.object for action in plan.actions if isinstance(action, Create)]
    found: Object = made | {"metadata": made["metadata"] | {"uid": "job-uid", "creationTimestamp": text(NOW)}}
    return found


def arguments(job: Object) -> list[str]:
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_a_vault_that_is_not_known_is_opened_and_the_known_ones_are_not() -> None:
    plan = look(subject())
    job = job_of(plan)
    assert arguments(job)[0] == "adopt-job"
    assert [value for name, value in zip(arguments(job), arguments(job)[1:], strict=False) if name == "--vault"] == [TWO]
    assert said(plan, "CatalogueRead") == ("False", "OpeningVaults")
    again = look(subject(), children=(job,))
    assert again.actions == ()


def test_a_read_only_location_is_never_probed_and_is_ready_to_be_read() -> None:
    plan = look(subject(), listing=Listing(vaults=(ONE,)))
    assert plan.actions == ()
    assert said(plan, "Ready") == ("True", "Readable")
    assert said(plan, "Conformant") == ("Unknown", "ReadOnly")
    assert said(plan, "CatalogueRead") == ("True", "VaultsKnown")
    refused = check_namespace(decode(BackupLocation, subject()), "shop", {})
    assert refused is not None
    assert refused.reason == "LocationReadOnly"


def test_vaults_are_not_looked_for_unless_that_is_asked_for() -> None:
    plan = look(location(), listing=None, vaults=())
    assert not any(entry["type"] == "CatalogueRead" for entry in status(plan)["conditions"])
    assert not [action for action in plan.actions if isinstance(action, Create) and arguments(action.object)[0] == "adopt-job"]
    listed = look(subject(accessMode="ReadWrite", catalogue={}))
    assert "adopt-job" in {arguments(action.object)[0] for action in listed.actions if isinstance(action, Create)}


def test_what_can_not_be_opened_is_told_and_tried_again_after_a_while() -> None:
    job = job_of(look(subject()))
    failed = {"outcome": "Failed", "reason": "KeyUnavailable", "message": "1 of 1 vaults can't be opened"}
    children = (job, pod_of(job, code=40, report=failed))
    plan = look(subject(), NOW + timedelta(seconds=5), children=children)
    assert plan.actions == ()
    assert said(plan, "CatalogueRead") == ("False", "KeyUnavailable")
    assert said(plan, "Ready") == ("True", "Readable")
    later = look(subject(), NOW + timedelta(minutes=11), children=children)
    assert [action.name for action in later.actions if isinstance(action, Delete)] == [job["metadata"]["name"]]


def test_another_key_is_tried_at_once() -> None:
    job = job_of(look(subject()))
    children = (job, pod_of(job, code=40, report={"outcome": "Failed", "reason": "KeyUnavailable"}))
    keys = [{"name": "new", "secret": {"secretRef": {"name": "another"}}}]
    plan = look(subject(encryption={"keys": keys}), NOW + timedelta(seconds=5), children=children)
    assert [action.name for action in plan.actions if isinstance(action, Delete)] == [job["metadata"]["name"]]


def test_the_job_goes_once_its_vaults_are_known() -> None:
    job = job_of(look(subject()))
    two = Vault(id=TWO, namespace="blog", namespace_uid="old-blog", fingerprint="recoupvault1b")
    plan = look(subject(), children=(job, pod_of(job, code=0)), vaults=(KNOWN, two))
    assert [action.name for action in plan.actions if isinstance(action, Delete)] == [job["metadata"]["name"]]
    assert said(plan, "CatalogueRead") == ("True", "VaultsKnown")
    assert [vault["id"] for vault in status(plan)["vaults"]] == [ONE, TWO]


def test_a_vault_that_leads_to_another_root_later_is_disputed_and_the_first_word_stands() -> None:
    first = status(look(subject(), listing=Listing(vaults=(ONE,))))
    other = Vault(id=ONE, namespace="shop", namespace_uid="old-shop", fingerprint="recoupvault1planted")
    plan = look(subject() | {"status": first}, listing=Listing(vaults=(ONE,)), vaults=(other,))
    assert said(plan, "Ready") == ("False", "VaultChanged")
    assert [vault["fingerprint"] for vault in status(plan)["vaults"]] == [KNOWN.fingerprint]
    opened = look(subject() | {"status": first}, listing=Listing(vaults=(ONE,)), vaults=())
    assert arguments(job_of(opened))[arguments(job_of(opened)).index("--fingerprint") + 1] == KNOWN.fingerprint


@pytest.mark.parametrize(
    ("listing", "spec", "reason"),
    [
        (Listing(reason="AccessDenied", message="may not list"), {}, "AccessDenied"),
        (Listing(vaults=(TWO,)), {"encryption": {"keys": [{"name": "safe", "recipient": {"publicKey": "r"}}]}}, "NoKeyInCluster"),
    ],
)
def test_why_vaults_are_not_known(listing: Listing, spec: Object, reason: str) -> None:
    plan = look(subject(**spec), listing=listing)
    assert plan.actions == ()
    assert said(plan, "CatalogueRead") == ("False", reason)


def test_points_of_a_younger_generation_have_the_vault_opened_again() -> None:
    plan = look(subject(), listing=Listing(vaults=(ONE,), locked=(ONE,)))
    assert ONE in arguments(job_of(plan))


def test_a_copy_of_a_vault_is_nobodys_home() -> None:
    copy = {"id": ONE, "namespace": "shop", "namespaceUid": "uid", "fingerprint": "f", "replica": True}
    place = decode(BackupLocation, location(status={"vaults": [copy]}))
    assert home_vault(place, "uid") != ONE
    place = decode(BackupLocation, location(status={"vaults": [copy | {"replica": False}]}))
    assert home_vault(place, "uid") == ONE
