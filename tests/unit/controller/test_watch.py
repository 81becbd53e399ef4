from __future__ import annotations

from typing import Any

import pytest

from recoup.api.labels import owner_labels
from recoup.controller.cache import KINDS, OURS, Cache
from recoup.controller.resources import JOB, NAMESPACE, PVC, SNAPSHOT, VOLUME_SNAPSHOT, Key
from recoup.controller.watch import Router, build_registry, build_settings, listener
from recoup.plan.objects.identity import LOCATION as LOCATION_OF_MOVER
from recoup.plan.objects.identity import RESTORED_BY, VAULT, VAULT_NAMESPACE


class Heard:
    def __init__(self) -> None:
        self.changed: list[Key] = []
        self.gone: list[Key] = []
        self.cache = Cache(movers_namespace="recoup-movers", clock=lambda: 0.0)
        self.relisted = 0
        self.router = Router(
            changed=lambda key, _delay: self.changed.append(key),
            gone=self.gone.append,
            snapshot_labels=lambda namespace, name: self.cache.labels(VOLUME_SNAPSHOT, namespace, name),
        )
        self.hear = listener(self.cache, self.router, self.note_relist)

    def note_relist(self) -> None:
        self.relisted += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


def owner(name: str = "p", uid: str = "u1", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "uid": uid, "generation": 1, **metadata}, "spec": {}}


def child(labels: dict[str, str], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "c", "namespace": "recoup-movers", "uid": "c1", "labels": labels}, "status": status}


def test_our_own_status_write_is_no_reason_to_look_again(heard: Heard) -> None:
    heard.router.owner_event("BackupPolicy", None, owner())
    heard.router.owner_event("BackupPolicy", "MODIFIED", owner() | {"status": {"a": 1}})
    assert heard.changed == [Key("BackupPolicy", "shop", "p")]


@pytest.mark.parametrize("change", [{"generation": 2}, {"deletionTimestamp": "t"}, {"labels": {"a": "b"}}, {"annotations": {"a": "b"}}])
def test_what_a_person_changes_is(heard: Heard, change: dict[str, Any]) -> None:
    heard.router.owner_event("BackupPolicy", None, owner())
    heard.router.owner_event("BackupPolicy", "MODIFIED", owner(**change))
    assert len(heard.changed) == 2


def test_a_recreated_object_is_another(heard: Heard) -> None:
    heard.router.owner_event("BackupPolicy", None, owner())
    heard.router.owner_event("BackupPolicy", "DELETED", owner())
    heard.router.owner_event("BackupPolicy", "ADDED", owner(uid="u2"))
    assert len(heard.changed) == 2
    assert heard.gone == [Key("BackupPolicy", "shop", "p")]


def test_the_end_of_a_run_is_news_for_its_policy_once(heard: Heard) -> None:
    run = owner(name="run") | {"spec": {"policyRef": {"name": "p"}}}
    heard.router.owner_event("BackupSnapshot", None, run)
    assert heard.changed == [Key("BackupSnapshot", "shop", "run")]
    for _ in range(2):
        heard.router.owner_event("BackupSnapshot", "MODIFIED", run | {"status": {"completedAt": "t"}})
    assert heard.changed[1:] == [Key("BackupPolicy", "shop", "p")]
    heard.router.owner_event("BackupSnapshot", "DELETED", run)
    assert heard.changed[2:] == [Key("BackupPolicy", "shop", "p")]


def test_the_end_of_a_run_wakes_the_standbys_of_its_namespace(heard: Heard) -> None:
    for name, place, mode in (("kept", "shop", "Standby"), ("once", "shop", "NewVolume"), ("elsewhere", "blog", "Standby")):
        restore = owner(name=name, uid=name) | {"spec": {"mode": mode}}
        heard.router.owner_event("RestoreRequest", "ADDED", restore | {"metadata": restore["metadata"] | {"namespace": place}})
    run = owner(name="run") | {"spec": {"policyRef": {"name": "p"}}}
    heard.router.owner_event("BackupSnapshot", "ADDED", run)
    heard.changed.clear()
    heard.router.owner_event("BackupSnapshot", "MODIFIED", run | {"status": {"completedAt": "t"}})
    assert heard.changed == [Key("BackupPolicy", "shop", "p"), Key("RestoreRequest", "shop", "kept")]


def test_a_location_that_changes_its_mind_wakes_who_waits_for_it_and_not_what_is_over(heard: Heard) -> None:
    place = owner(name="frankfurt", uid="l1")
    over = owner(name="old", uid="u2") | {"spec": {"policyRef": {"name": "p"}}, "status": {"completedAt": "t"}}
    waiting = owner(name="new", uid="u3") | {"spec": {"policyRef": {"name": "p"}}}
    heard.router.owner_event("BackupPolicy", None, owner())
    heard.router.owner_event("BackupSnapshot", None, over)
    heard.router.owner_event("BackupSnapshot", None, waiting)
    heard.router.owner_event("BackupLocation", None, place)
    heard.changed.clear()
    good = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Usable"}]}}
    for _ in range(2):
        heard.router.owner_event("BackupLocation", "MODIFIED", place | good)
    assert sorted(heard.changed) == [Key("BackupPolicy", "shop", "p"), Key("BackupSnapshot", "shop", "new")]


@pytest.mark.parametrize("event", ["ADDED", "DELETED"])
def test_a_location_that_comes_or_goes_wakes_who_names_it(event: str, heard: Heard) -> None:
    """A policy whose location did not exist says so: until now it was told of the new one after two minutes only."""
    heard.router.owner_event("BackupPolicy", None, owner())
    if event == "DELETED":
        heard.router.owner_event("BackupLocation", None, owner(name="frankfurt", uid="l1"))
    heard.changed.clear()
    heard.router.owner_event("BackupLocation", event, owner(name="frankfurt", uid="l1"))
    assert Key("BackupPolicy", "shop", "p") in heard.changed


def test_locations_that_are_listed_at_the_beginning_wake_nobody_twice(heard: Heard) -> None:
    heard.router.owner_event("BackupPolicy", None, owner())
    heard.changed.clear()
    heard.router.owner_event("BackupLocation", None, owner(name="frankfurt", uid="l1"))
    assert heard.changed == [Key("BackupLocation", "shop", "frankfurt")]


def test_a_child_leads_to_its_owner(heard: Heard) -> None:
    labels = owner_labels(kind="BackupSnapshot", namespace="shop", name="run", uid="u1")
    for event in ("MODIFIED", "DELETED", None):
        heard.router.child_event("PersistentVolumeClaim", event, child(labels, phase="Bound"))
    assert heard.changed == [Key("BackupSnapshot", "shop", "run")] * 3


@pytest.mark.parametrize(
    ("kind", "states", "news"),
    [
        ("Job", [{}, {"active": 1}, {"active": 1, "ready": 1}, {"conditions": [{"type": "Complete", "status": "True"}]}], 1),
        (
            "Pod",
            [{"phase": "Pending"}, {"phase": "Pending", "conditions": []}, {"phase": "Running"}, {"phase": "Running", "qosClass": "x"}],
            1,
        ),
        ("Pod", [{"phase": "Running"}, {"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}], 1),
        ("VolumeSnapshot", [{}, {"creationTime": "t"}, {"readyToUse": False}, {"readyToUse": True}, {"readyToUse": True, "x": 1}], 1),
        (
            "VolumeSnapshot",
            [{}, {"error": {"message": "one"}}, {"error": {"message": "one", "time": "t"}}, {"error": {"message": "two"}}],
            2,
        ),
        ("PersistentVolume", [{"phase": "Bound"}, {"phase": "Bound", "x": 1}, {"phase": "Released"}], 1),
    ],
)
def test_only_what_a_decision_can_rest_on_is_news(heard: Heard, kind: str, states: list[dict[str, Any]], news: int) -> None:
    labels = owner_labels(kind="BackupSnapshot", namespace="shop", name="run", uid="u1")
    heard.router.child_event(kind, "ADDED", child(labels, **states[0]))
    assert heard.changed == []
    for state in states[1:]:
        heard.router.child_event(kind, "MODIFIED", child(labels, **state))
    assert len(heard.changed) == news


def test_a_child_that_we_just_made_is_no_news(heard: Heard) -> None:
    heard.router.child_event("Job", "ADDED", child(owner_labels(kind="BackupSnapshot", namespace="shop", name="run", uid="u1")))
    assert heard.changed == []


def test_an_owner_whose_name_does_not_fit_a_label_is_found_by_uid(heard: Heard) -> None:
    name = "x" * 100
    heard.router.owner_event("BackupSnapshot", None, owner(name=name))
    heard.router.child_event("Job", "MODIFIED", child(owner_labels(kind="BackupSnapshot", namespace="shop", name=name, uid="u1")))
    assert heard.changed[-1] == Key("BackupSnapshot", "shop", name)


@pytest.mark.parametrize("labels", [{}, {"recoup.dev/owner-kind": "Deployment", "recoup.dev/owner-name": "x"}])
def test_a_strangers_labels_lead_nowhere(heard: Heard, labels: dict[str, str]) -> None:
    heard.router.child_event("Job", "MODIFIED", child(labels))
    assert heard.changed == []


def versioned(name: str, version: int, labels: dict[str, str] | None = None, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "resourceVersion": str(version), "labels": labels or {}}
    return {"metadata": metadata, **rest}


def test_the_cache_has_an_event_before_anybody_is_woken_by_it(heard: Heard) -> None:
    labels = owner_labels(kind="BackupSnapshot", namespace="shop", name="run", uid="u1")
    known: list[object] = []
    router = Router(changed=lambda _key, _delay: known.append(heard.cache.get(PVC, "shop", "c")), gone=heard.gone.append)
    hear = listener(heard.cache, router, heard.note_relist)
    hear(PVC, "MODIFIED", versioned("c", 5, labels, status={"phase": "Bound"}))
    hear(PVC, "DELETED", versioned("c", 6, labels))
    assert [bool(thing) for thing in known] == [True, False]


def test_a_list_of_the_watch_is_told_as_such(heard: Heard) -> None:
    heard.hear(NAMESPACE, None, versioned("shop", 1))
    heard.hear(NAMESPACE, "MODIFIED", versioned("shop", 2))
    assert heard.relisted == 1
    assert heard.changed == []


def test_the_snapshot_controllers_content_wakes_the_run_whose_snapshot_it_is_for(heard: Heard) -> None:
    labels = owner_labels(kind="BackupSnapshot", namespace="shop", name="run", uid="u1")
    heard.hear(VOLUME_SNAPSHOT, "ADDED", versioned("cut", 3, labels | {"app.kubernetes.io/managed-by": "recoup"}))
    content = versioned("snapcontent-1", 4, spec={"volumeSnapshotRef": {"namespace": "shop", "name": "cut"}})
    heard.router.child_event("VolumeSnapshotContent", "ADDED", content)
    heard.router.child_event("VolumeSnapshotContent", "MODIFIED", content | {"status": {"readyToUse": True, "snapshotHandle": "h"}})
    assert heard.changed == [Key("BackupSnapshot", "shop", "run")]


def test_a_restored_claim_that_is_bound_wakes_its_restore(heard: Heard) -> None:
    heard.router.owner_event("RestoreRequest", None, owner(name="incident", uid="r1"))
    heard.changed.clear()
    heard.router.child_event("PersistentVolumeClaim", "MODIFIED", child({RESTORED_BY: "r1"}, phase="Bound"))
    assert heard.changed == [Key("RestoreRequest", "shop", "incident")]


def test_the_end_of_a_keys_job_wakes_the_runs_that_wait_for_it(heard: Heard) -> None:
    run = owner(name="run", uid="u1") | {"spec": {"policyRef": {"name": "p"}}}
    heard.router.tell(SNAPSHOT, None, run)
    heard.changed.clear()
    labels = owner_labels(kind="BackupLocation", namespace="", name="frankfurt", uid="l1") | {VAULT: "v"}
    heard.router.tell(JOB, "MODIFIED", child(labels, conditions=[{"type": "Complete", "status": "True"}]))
    assert heard.changed == [Key("BackupLocation", "", "frankfurt"), Key("BackupSnapshot", "shop", "run")]


def test_a_keys_job_wakes_nobody_in_other_namespaces(heard: Heard) -> None:
    """With a hundred namespaces each of their keys Jobs would have every policy of the cluster looked at."""
    for place in ("shop", "blog"):
        run = owner(name="run", uid=f"u-{place}") | {"spec": {"policyRef": {"name": "p"}}}
        heard.router.tell(SNAPSHOT, None, run | {"metadata": run["metadata"] | {"namespace": place}})
    heard.changed.clear()
    labels = owner_labels(kind="BackupLocation", namespace="", name="frankfurt", uid="l1") | {VAULT: "v", VAULT_NAMESPACE: "shop"}
    heard.router.tell(JOB, "MODIFIED", child(labels, conditions=[{"type": "Complete", "status": "True"}]))
    assert heard.changed == [Key("BackupLocation", "", "frankfurt"), Key("BackupSnapshot", "shop", "run")]


def test_kopf_is_asked_for_events_only_and_writes_nothing(heard: Heard) -> None:
    registry = build_registry(heard.hear, kinds=KINDS)
    assert len(registry._watching.get_all_handlers()) == len(KINDS)
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers()
    settings = build_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert len(settings.watching.label_selectors) == len(OURS)


@pytest.mark.parametrize(
    ("labels", "condition", "woken"),
    [({LOCATION_OF_MOVER: "frankfurt"}, "Failed", 1), ({LOCATION_OF_MOVER: "frankfurt"}, "Complete", 0), ({}, "Failed", 0)],
)
def test_a_backup_mover_that_fails_has_the_locations_looked_at(heard: Heard, labels: dict[str, str], condition: str, woken: int) -> None:
    heard.router.owner_event("BackupLocation", "ADDED", owner("frankfurt", "u9", namespace=None))
    heard.changed.clear()
    heard.router.tell(JOB, "MODIFIED", child(labels, conditions=[{"type": condition, "status": "True"}]))
    assert heard.changed == [Key("BackupLocation", "", "frankfurt")] * woken
