"""The hand-over of one restored volume: from a claim in the movers' namespace to one that the user asked for.

The order survives a stop after any write and loses nothing in between: PersistentVolume to Retain, with our labels and the policy it had →
the movers' Job and claim away → the target claim, for exactly this volume → the volume's claimRef to that claim → a nudge of the claim →
Bound → the policy back, our labels off. `release` removes an unfinished restore from wherever it stands, and never a volume that the
user has.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.labels import MANAGED_BY, OWNER_KIND, OWNER_NAME, OWNER_NAMESPACE, OWNER_UID, VOLUME
from recoup.api.restorerequest import PlannedVolume, RestoredVolume
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Create, Object
from recoup.plan.movers import STALL_LIMIT, parse_time
from recoup.plan.objects.claims import ClaimShape, build_target_claim
from recoup.plan.objects.identity import RECLAIM_POLICY, RESTORED_BY, Owner, is_child
from recoup.plan.volume_view import delete, is_going, patch

OUR_LABELS = (MANAGED_BY, OWNER_KIND, OWNER_NAMESPACE, OWNER_NAME, OWNER_UID, VOLUME, RECLAIM_POLICY)
BIND_LIMIT: timedelta = STALL_LIMIT
HANDED_OVER = "recoup.dev/handed-over"
"""Annotation on a target claim. The binder saw the claim before the volume was its own and looks again only when the claim changes, or
after its resync of 15 s. (Naming the claim in the volume beforehand would need no nudge, but would also serve a namespace that was
deleted and created again in between.)"""


class RestoreView(Struct, frozen=True, kw_only=True):
    """What exists for one volume of a restore.

    movers_claim, jobs, pods: in the movers' namespace; jobs: by attempt; stale: those of an earlier round of a standby. volume: the
    PersistentVolume. target: whatever PVC has the target's name.
    """

    known: RestoredVolume
    planned: PlannedVolume
    name: str
    movers_claim: Object | None = None
    volume: Object | None = None
    target: Object | None = None
    jobs: dict[int, Object] = {}
    stale: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()

    @property
    def movers(self) -> tuple[Object, ...]:
        """Every Job that may write to the volume."""
        return (*self.jobs.values(), *self.stale)

    def children(self, owner_uid: str) -> list[Object]:
        """Everything of ours that still exists; a target that was handed over is not ours."""
        kept = self.volume if self.volume is not None and is_child(self.volume, owner_uid) else None
        return [*(thing for thing in (self.movers_claim, kept) if thing is not None), *self.movers]


class Handback(Struct, frozen=True):
    """The next writes; `done`: the user has the volume; or a refusal; else it waits for what was asked for."""

    actions: tuple[Action, ...] = ()
    done: bool = False
    refusal: Refusal | None = None


def continue_handback(view: RestoreView, owner: Owner, *, namespace_ending: bool, now: datetime) -> Handback:
    """The next step of a volume that was filled and compared."""
    volume = view.volume
    place = f"PVC {owner.namespace}/{view.planned.target}"
    if volume is None:
        return Handback(refusal=Refusal("VolumeLost", f"the PersistentVolume that was restored for {place} was deleted by somebody else"))
    if _is_target(view.target, owner, volume) and _is_bound(view.target) and not is_child(volume, owner.uid):
        return Handback(done=True)
    if view.target is None and namespace_ending:
        return Handback(refusal=Refusal("NamespaceTerminating", f"namespace {owner.namespace} is being deleted"))
    if view.target is not None and not _is_target(view.target, owner, volume):
        message = f"{place} was created by somebody else while the restore ran"
        return Handback(refusal=Refusal("TargetExists", f"{message}; create a RestoreRequest with another volumes[].target.name"))
    actions = _let_go(view, owner, volume)
    if view.target is None:
        return Handback((*actions, Create(_target(view, owner, volume))))
    if actions:
        return Handback(actions)  # our claim stays until the mover's pod is gone, but nothing uses the volume any more
    metadata = view.target["metadata"]
    if (volume["spec"].get("claimRef") or {}).get("uid") != metadata["uid"]:
        ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": metadata["namespace"], "name": metadata["name"]}
        given = patch(volume, {"spec": {"claimRef": ref | {"uid": metadata["uid"], "resourceVersion": None}}})
        return Handback((given, *_nudge(view.target, volume)))
    if _is_bound(view.target):
        return Handback((patch(volume, return_policy(volume)),))
    if now - parse_time(metadata["creationTimestamp"]) >= BIND_LIMIT:
        message = (
            f"{place} was not bound to PersistentVolume {volume['metadata']['name']} within {BIND_LIMIT}; look at the controller manager"
        )
        return Handback(refusal=Refusal("TargetNotBound", message))
    return Handback(_nudge(view.target, volume))


def release(view: RestoreView, owner_uid: str) -> tuple[Action, ...]:
    """Remove an unfinished restore: Jobs, claims, and the volume with what was written on it."""
    actions: list[Action] = [delete(job) for job in view.movers if not is_going(job)]
    volume, target = view.volume, view.target
    ours = target is not None and (target["metadata"].get("labels") or {}).get(RESTORED_BY) == owner_uid
    if volume is not None and is_child(volume, owner_uid) and not is_going(volume):
        if ours and _is_bound(target):
            return (*actions, patch(volume, return_policy(volume)))
        if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            actions.append(patch(volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}))
    if view.movers_claim is not None and not is_going(view.movers_claim):
        actions.append(delete(view.movers_claim))
    if target is not None and ours and not _is_bound(target) and not is_going(target):
        actions.append(delete(target))
    return tuple(actions)


def return_policy(volume: Object) -> Object:
    """The patch with which the user gets the volume for good."""
    policy = (volume["metadata"].get("labels") or {}).get(RECLAIM_POLICY) or "Delete"
    return {"metadata": {"labels": dict.fromkeys(OUR_LABELS)}, "spec": {"persistentVolumeReclaimPolicy": policy}}


def _nudge(target: Object, volume: Object) -> tuple[Action, ...]:
    """Have the binder look at the claim again, once the volume is its own."""
    name = volume["metadata"]["name"]
    if (target["metadata"].get("annotations") or {}).get(HANDED_OVER) == name:
        return ()
    return (patch(target, {"metadata": {"annotations": {HANDED_OVER: name}}}),)


def _let_go(view: RestoreView, owner: Owner, volume: Object) -> tuple[Action, ...]:
    """Hold the volume, then remove what used it. A patch that fails keeps what follows it from happening."""
    leftovers = tuple(delete(thing) for thing in (*view.movers, view.movers_claim) if thing is not None and not is_going(thing))
    return leftovers if _is_held(volume, owner) else (_hold(view, owner, volume), *leftovers)


def _hold(view: RestoreView, owner: Owner, volume: Object) -> Action:
    policy = volume["spec"].get("persistentVolumeReclaimPolicy") or "Delete"
    kept = (volume["metadata"].get("labels") or {}).get(RECLAIM_POLICY) or policy
    labels = owner.labels(view.planned.source) | {RECLAIM_POLICY: kept}
    return patch(volume, {"metadata": {"labels": labels}, "spec": {"persistentVolumeReclaimPolicy": "Retain"}})


def _is_held(volume: Object, owner: Owner) -> bool:
    return is_child(volume, owner.uid) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain"


def _target(view: RestoreView, owner: Owner, volume: Object) -> Object:
    planned = view.planned
    shape = ClaimShape(
        storage_class_name=planned.storage_class_name,
        access_modes=planned.access_modes,
        volume_mode=planned.volume_mode or "Filesystem",
        size=planned.size,
    )
    return build_target_claim(owner, name=planned.target, shape=shape, labels=planned.labels, volume=volume["metadata"]["name"])


def _is_target(claim: Object | None, owner: Owner, volume: Object) -> bool:
    if claim is None:
        return False
    made_by = (claim["metadata"].get("labels") or {}).get(RESTORED_BY)
    return made_by == owner.uid and bool(claim["spec"].get("volumeName") == volume["metadata"]["name"])


def _is_bound(claim: Object | None) -> bool:
    return ((claim or {}).get("status") or {}).get("phase") == "Bound"
