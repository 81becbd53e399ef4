from __future__ import annotations

import threading
from typing import Any

import pytest

from recoup.controller import failures
from recoup.controller.apply import (
    AT_A_TIME,
    LONG_ROW,
    ActionFailed,
    NameTaken,
    apply_action,
    apply_actions,
    apply_status,
    canonical,
    differs,
)
from recoup.controller.events import post_events
from recoup.controller.resources import EVENT, JOB, POLICY, PVC, Resource
from recoup.plan.actions import Action, Create, Delete, EventNote, EventType, Patch, Plan
from tests.fakes.memory_kube import MemoryKube
from tests.unit.controller.clock import Clock

NOW = Clock().now()


def job(name: str = "mover", owner: str = "u1") -> dict[str, Any]:
    labels = {"recoup.dev/owner-uid": owner}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "movers", "labels": labels}, "spec": {}}


def policy(kube: MemoryKube, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return kube.put(POLICY, {"metadata": {"name": "p", "namespace": "shop"}, "spec": {}, "status": status or {}})


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube()


def test_create_twice_is_one_object(kube: MemoryKube) -> None:
    assert apply_action(kube, Create(job())) == 1
    assert apply_action(kube, Create(job())) == 0
    assert len(kube.objects) == 1


class Meeting(MemoryKube):
    """Its first creates wait for each other: with one after the other the barrier breaks."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier, self._first = threading.Barrier(AT_A_TIME), iter(range(AT_A_TIME))

    def create(self, resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
        if next(self._first, None) is not None:
            self._barrier.wait(30)
        return super().create(resource, obj)


def test_a_long_row_of_creates_is_made_at_once_and_to_its_end() -> None:
    kube, made = Meeting(), list[str]()
    kube.put(JOB, job("mover-40", owner="other"))
    row = tuple(Create(job(f"mover-{number}")) for number in range(LONG_ROW * 2))
    with pytest.raises(ActionFailed, match="mover-40 exists and is not ours") as failed:
        apply_actions(kube, row, succeeded=lambda action: made.append(action.name))
    assert failed.value.action is row[40]
    assert made == [f"mover-{number}" for number in range(40)]
    assert len(kube.objects) == len(row), "the refusal of one kept none of the others from being made"


def test_create_beside_an_object_of_another_owner_is_refused_by_name(kube: MemoryKube) -> None:
    apply_action(kube, Create(job(owner="other")))
    with pytest.raises(NameTaken, match="Job movers/mover exists and is not ours"):
        apply_action(kube, Create(job()))


def test_create_beside_an_object_that_has_no_owner_at_all_is_refused(kube: MemoryKube) -> None:
    kube.put(JOB, {"metadata": {"name": "mover", "namespace": "movers"}})
    unlabelled = job()
    del unlabelled["metadata"]["labels"]
    with pytest.raises(NameTaken):
        apply_action(kube, Create(unlabelled))


def test_our_own_object_that_is_being_deleted_is_waited_for(kube: MemoryKube) -> None:
    obj = job()
    obj["metadata"]["finalizers"] = ["x/y"]
    made = kube.create(JOB, obj)
    kube.delete(JOB, "movers", "mover", uid=made["metadata"]["uid"])
    with pytest.raises(failures.Conflict, match="still being deleted"):
        apply_action(kube, Create(job()))


def test_delete_leaves_another_object_of_the_name_alone(kube: MemoryKube) -> None:
    made = kube.create(JOB, job())
    assert apply_action(kube, Delete("batch/v1", "Job", "movers", "mover", "other-uid")) == 0
    assert apply_action(kube, Delete("batch/v1", "Job", "movers", "mover", made["metadata"]["uid"])) == 1
    assert apply_action(kube, Delete("batch/v1", "Job", "movers", "mover", made["metadata"]["uid"])) == 0


def test_patch_acts_on_the_state_that_was_decided_on(kube: MemoryKube) -> None:
    made = kube.create(PVC, {"metadata": {"name": "c", "namespace": "shop"}, "spec": {"a": 1}})
    patch = Patch(
        "v1", "PersistentVolumeClaim", "shop", "c", made["metadata"]["uid"], made["metadata"]["resourceVersion"], {"spec": {"a": 2}}
    )
    assert apply_action(kube, patch) == 1
    with pytest.raises(failures.Conflict):
        apply_action(kube, patch)
    kube.delete(PVC, "shop", "c", uid=made["metadata"]["uid"])
    with pytest.raises(failures.Conflict):
        apply_action(kube, patch)


def test_actions_stop_at_the_first_that_fails_and_say_which(kube: MemoryKube) -> None:
    apply_action(kube, Create(job("taken", owner="other")))
    done: list[Action] = []
    actions = (Create(job("one")), Create(job("taken")), Create(job("two")))
    with pytest.raises(ActionFailed) as raised:
        apply_actions(kube, actions, succeeded=done.append)
    assert raised.value.action is actions[1]
    assert done == [actions[0]]
    assert {name for (*_, name) in kube.objects} == {"one", "taken"}


def test_a_status_that_says_the_same_is_not_written(kube: MemoryKube) -> None:
    conditions = [{"type": "Ready", "status": "True"}, {"type": "RPOMet", "status": "True"}]
    owner = policy(kube, {"conditions": conditions})
    plan = Plan(status={"conditions": list(reversed(conditions)), "nextRun": None})
    assert apply_status(kube, owner, plan, now=NOW, instance="i") == 0
    assert kube.writes == []
    assert apply_status(kube, owner, Plan(status={"conditions": conditions[:1]}), now=NOW, instance="i") == 1
    assert kube.get(POLICY, "shop", "p")["status"] == {"conditions": conditions[:1]}


def test_a_status_decided_on_an_older_state_is_not_written(kube: MemoryKube) -> None:
    owner = policy(kube)
    policy(kube, {"by": "another replica"})
    with pytest.raises(failures.Conflict):
        apply_status(kube, owner, Plan(status={"by": "us"}), now=NOW, instance="i")


def test_an_event_is_posted_once_for_one_state_of_the_object(kube: MemoryKube) -> None:
    owner = policy(kube)
    plan = Plan(events=(EventNote(EventType.WARNING, "QuotaExceeded", "quota"),))
    post_events(kube, owner, plan.events, now=NOW, instance="i")
    post_events(kube, owner, plan.events, now=NOW, instance="another replica")
    events = kube.list(EVENT, "shop")
    assert [(event["reason"], event["note"], event["type"]) for event in events] == [("QuotaExceeded", "quota", "Warning")]
    assert events[0]["regarding"]["uid"] == owner["metadata"]["uid"]


def test_a_refused_event_does_not_undo_the_rest(kube: MemoryKube) -> None:
    def refuse(_verb: str, kind: str, _name: str) -> None:
        if kind == "Event":
            raise failures.Forbidden("no")

    kube.before_write = refuse
    apply_status(kube, policy(kube), Plan(status={"a": 1}, events=(EventNote(EventType.NORMAL, "R", "m"),)), now=NOW, instance="i")
    assert kube.get(POLICY, "shop", "p")["status"] == {"a": 1}


def test_a_long_note_is_cut_to_what_the_api_takes(kube: MemoryKube) -> None:
    apply_status(kube, policy(kube), Plan(events=(EventNote(EventType.NORMAL, "R", "ä" * 2000),)), now=NOW, instance="i")
    assert len(kube.list(EVENT)[0]["note"].encode()) <= 1024


@pytest.mark.parametrize(
    ("one", "other", "different"),
    [
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [{"x": 1}, {"y": 2}]}, {"a": [{"y": 2}, {"x": 1}]}, False),
        ({"a": {"b": None}}, {"a": {}}, False),
        ({"a": ()}, {"a": []}, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
    ],
)
def test_differs(one: dict[str, Any], other: dict[str, Any], different: bool) -> None:
    assert differs(one, other) is different
    assert (canonical(one) != canonical(other)) is different
