"""What is left of owners that are gone: found by our labels, cluster-wide, and removed in the order that loses nothing.

No finalizer of ours holds an object or a namespace up, so this is what cleans after a deletion. A backup mover that is at work when its
owner vanishes with its namespace is let finish: its recovery point may be the last there is. Looks at labels and uids only.
"""

from datetime import datetime, timedelta

from recoup.api.backupsnapshot import KIND as SNAPSHOT_KIND
from recoup.api.backupsnapshot import SnapshotVolume, VolumeState
from recoup.api.labels import OWNER_KIND, OWNER_UID, VOLUME
from recoup.api.restorerequest import KIND as RESTORE_KIND
from recoup.plan.actions import Action, Object
from recoup.plan.capture import release as release_snapshot
from recoup.plan.handback import return_policy
from recoup.plan.movers import MoverState, judge_mover, parse_time, pod_of
from recoup.plan.objects.identity import RESTORED_BY
from recoup.plan.observed import SweepObserved
from recoup.plan.volume_view import VolumeView, delete, is_going, patch, sort_children

FINISH_LIMIT = timedelta(hours=24)
"""How long a mover without an owner may go on."""


def plan_sweep(observed: SweepObserved, now: datetime) -> tuple[Action, ...]:
    """The next writes that remove orphans; empty when there are none, or when what there is has to wait."""
    groups: dict[tuple[str, str, str], list[Object]] = {}
    for child in observed.children:
        labels = child["metadata"].get("labels") or {}
        if labels.get(OWNER_UID) and labels[OWNER_UID] not in observed.owners:
            groups.setdefault((labels.get(OWNER_KIND, ""), labels[OWNER_UID], labels.get(VOLUME, "")), []).append(child)
    actions: list[Action] = []
    for (kind, owner_uid, _), children in sorted(groups.items()):
        if kind == SNAPSHOT_KIND:
            actions += _sweep_backup(children, observed, now)
        elif kind == RESTORE_KIND:
            actions += _sweep_restore(children, owner_uid, observed)
        else:
            actions += [delete(child) for child in children if child["kind"] == "Job" and not is_going(child)]
    return tuple(actions)


def _sweep_backup(children: list[Object], observed: SweepObserved, now: datetime) -> tuple[Action, ...]:
    nobody = SnapshotVolume(persistent_volume_claim="", uid="", state=VolumeState.CANCELLED)
    view = sort_children(children, observed.around.movers_namespace, nobody)
    return () if _may_finish(view, now) else release_snapshot(view)


def _may_finish(view: VolumeView, now: datetime) -> bool:
    for job in view.jobs.values():
        verdict = judge_mover(job, pod_of(job, view.pods), now=now, warnings={})
        young = now - parse_time(job["metadata"]["creationTimestamp"]) < FINISH_LIMIT
        if verdict.state is MoverState.RUNNING and verdict.since is not None and young:  # one that has not begun has nothing to finish
            return True
    return False


def _sweep_restore(children: list[Object], owner_uid: str, observed: SweepObserved) -> tuple[Action, ...]:
    """A volume that its target has is the user's; every other one goes, with what was written on it."""
    actions: list[Action] = [delete(child) for child in children if child["kind"] == "Job" and not is_going(child)]
    volumes = [child for child in children if child["kind"] == "PersistentVolume" and not is_going(child)]
    for volume in volumes:
        if _is_handed_over(volume, observed):
            actions.append(patch(volume, return_policy(volume)))
        elif volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            actions.append(patch(volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}))
    actions += [delete(child) for child in children if child["kind"] == "PersistentVolumeClaim" and not is_going(child)]
    for claim in observed.restored:
        made_by = (claim["metadata"].get("labels") or {}).get(RESTORED_BY)
        bound = (claim.get("status") or {}).get("phase") == "Bound"
        ours = [volume for volume in volumes if volume["metadata"]["name"] == claim["spec"].get("volumeName")]
        if made_by == owner_uid and not bound and ours and not is_going(claim) and not _is_handed_over(ours[0], observed):
            actions.append(delete(claim))
    return tuple(actions)


def _is_handed_over(volume: Object, observed: SweepObserved) -> bool:
    ref = volume["spec"].get("claimRef") or {}
    place = (ref.get("namespace") or "", ref.get("name") or "")
    if place[0] == observed.around.movers_namespace:
        return False
    return place in observed.claims and observed.claims[place] == ref.get("uid")
