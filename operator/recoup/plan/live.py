"""Live capture: the volume is read where it is, in the namespace of the workload and on the node of the pod that uses it.

For volumes that can't be snapshot. Here is decided whether it may be done, where, and as whom, and that the mover gets its keys: a handout
Job in the movers' namespace makes one Secret for it, which belongs to the mover's Job and goes with it. What is checked when a mover
is made is checked again before any key leaves for the namespace. docs/live-capture.md tells users.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import CaptureMethod, TaintEffect, Toleration, TolerationOperator
from recoup.api.backupsnapshot import BackupSnapshotStatus, ResolvedRun
from recoup.api.labels import MANAGED_BY, MANAGER
from recoup.api.objects import decode
from recoup.plan.access import Refusal, check_namespace
from recoup.plan.actions import Action, Create, Object
from recoup.plan.capture import Handover, Terms, check_bound
from recoup.plan.movers import MoverState, Verdict, judge_mover, pod_of
from recoup.plan.objects.live_job import build_handout_job
from recoup.plan.objects.pod import ROOT, RunsAs
from recoup.plan.observed import SnapshotObserved
from recoup.plan.volume_view import VolumeView, delete, is_going

NOT_POINT_IN_TIME = "NotPointInTime"
"""The guarantee, in statuses. In the recovery point it is written `None`: docs/format-data.md."""
RECORDED = "None"

POLL = 5.0
"""Seconds to the next look at a mover in a workload's namespace, where no watch tells of it; of one that has worked for a while:"""
POLL_LATER = 15.0
_PAUSE = timedelta(seconds=30)
"""After a handout that failed: most of what is in its way a person has to mend, and then it just works."""
_ENFORCED = "pod-security.kubernetes.io/enforce"
_EXCLUSIVE = "ReadWriteOncePod"
_OVER = ("Succeeded", "Failed")
_OWN_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Tolerations that every pod is given."""


class Workload(Struct, frozen=True, kw_only=True):
    """Where and as whom a mover reads the volume. node: None for any that the volume is reachable from."""

    node: str | None
    runs_as: RunsAs
    tolerations: tuple[Toleration, ...] = ()

    def affinity(self, of_volume: Object | None) -> Object | None:
        """As the node affinity of a PersistentVolume, which is what counts where no pod uses the volume."""
        if self.node is None:
            return of_volume
        field = {"key": "metadata.name", "operator": "In", "values": [self.node]}
        return {"required": {"nodeSelectorTerms": [{"matchFields": [field]}]}}


class Handout(Struct, frozen=True):
    """What to do about a mover's keys, and what is in their way."""

    actions: tuple[Action, ...] = ()
    reason: str | None = None
    message: str | None = None


def is_live(status: BackupSnapshotStatus) -> bool:
    return status.run is not None and status.run.method is CaptureMethod.LIVE


def find_workload(view: VolumeView, observed: SnapshotObserved, terms: Terms, resolved: ResolvedRun) -> Workload | Handover:
    """Where the mover goes; or a refusal, or what is waited for."""
    refusal = _refuse(observed, terms) or _refuse_volume(view, terms)
    if refusal is not None:
        return Handover(refusal=refusal)
    assert view.claim is not None
    waiting = check_bound(view.claim, view.volume, observed, terms)
    if waiting is not None:
        return waiting
    users = _users(view.place, observed.workload)
    if users and _EXCLUSIVE in (view.claim["spec"].get("accessModes") or ()):
        return Handover(refusal=_exclusive(f"PVC {terms.owner.namespace}/{view.place}", users[0]))
    pod = next((user for user in users if user["spec"].get("nodeName")), None)
    runs_as = _choose_user(view.place, users[0] if users else None, observed.namespace or {}, resolved.run_as_user)
    if runs_as is None:
        return Handover(refusal=_unknown_user(terms.owner.namespace, view.place))
    return Workload(node=pod["spec"]["nodeName"] if pod else None, runs_as=runs_as, tolerations=_tolerations(pod) if pod else ())


def hand_out(
    view: VolumeView, number: int, verdict: Verdict, observed: SnapshotObserved, terms: Terms, *, place: str, vault: str, foreign: bool
) -> Handout:
    """The next step towards the Secret of a mover that exists. foreign: the vault is not the namespace's."""
    job, handout = view.jobs[number], view.handouts.get(number)
    if verdict.state is not MoverState.RUNNING or verdict.since is not None:  # it has read its keys
        return Handout(() if handout is None or is_going(handout) else (delete(handout),))
    refusal = _refuse(observed, terms)
    if foreign or refusal is not None or observed.location is None:
        why = refusal or Refusal("VaultMismatch", f"vault {vault} is not the one of namespace {terms.owner.namespace}")
        return Handout((), why.reason, why.message)
    if handout is None:
        location = decode(BackupLocation, observed.location).spec
        name = terms.owner.child_name(f"{view.place}-{number}-keys", view.known.uid, str(number), "handout")
        made = build_handout_job(
            terms.owner,
            observed.around,
            location,
            name=name,
            place=place,
            volume_uid=view.known.uid,
            attempt=number,
            vault=vault,
            mover=job,
        )
        return Handout((Create(made),))
    return _watch_handout(handout, view, observed, terms.now)


def poll(verdict: Verdict, now: datetime) -> float:
    """Seconds to the next look at a mover."""
    return POLL if verdict.since is None or now - verdict.since < timedelta(minutes=1) else POLL_LATER


def _watch_handout(handout: Object, view: VolumeView, observed: SnapshotObserved, now: datetime) -> Handout:
    verdict = judge_mover(handout, pod_of(handout, view.pods), now=now, warnings=observed.warnings)
    if verdict.state is not MoverState.FAILED:
        return Handout((), verdict.reason or None, f"the mover's keys: {verdict.message}" if verdict.message else None)
    message = f"the mover could not be given its keys: {verdict.message}"
    over = is_going(handout) or now - (verdict.since or now) < _PAUSE
    return Handout(() if over else (delete(handout),), verdict.reason, message)


def _refuse(observed: SnapshotObserved, terms: Terms) -> Refusal | None:
    """Whether keys may go to the namespace at all."""
    namespace = terms.owner.namespace
    if terms.namespace_ending or observed.namespace is None:
        return Refusal("NamespaceTerminating", f"namespace {namespace} is being deleted")
    if namespace not in observed.around.live_namespaces:
        message = f"capture.method Live has no right to run movers in namespace {namespace}; add it to the chart value live.namespaces"
        return Refusal("LiveNotAllowed", message)
    if observed.location is None:
        return None
    location = decode(BackupLocation, observed.location)
    refusal = check_namespace(location, namespace, observed.namespace["metadata"].get("labels") or {})
    if refusal is None and location.spec.s3.live_credentials_secret_ref is None:
        message = f"BackupLocation {location.metadata.name} names no credentials that may be seen in the namespaces of workloads"
        hint = "ask the platform team for spec.s3.liveCredentialsSecretRef, or use capture.method Snapshot"
        return Refusal("LiveCredentialsMissing", f"{message}; {hint}")
    return refusal


def _refuse_volume(view: VolumeView, terms: Terms) -> Refusal | None:
    place = f"PVC {terms.owner.namespace}/{view.place}"
    if view.claim is None or is_going(view.claim):
        return Refusal(
            "VolumeClaimDeleted", f"{place} was deleted before it was read; if it was made anew, the next run protects the new one"
        )
    if view.claim["spec"].get("volumeMode") == "Block":
        message = f"{place} is a block device, which is of no use when it was read while it was written to"
        return Refusal("LiveNeedsFilesystem", f"{message}; use capture.method Snapshot, or exclude this PVC in spec.selector.exclude")
    return None


def _exclusive(place: str, pod: Object) -> Refusal:
    message = f"{place} has the access mode {_EXCLUSIVE}, and pod {pod['metadata']['name']} uses it, so no mover can"
    return Refusal(
        "VolumeInUseExclusively", f"{message}; use capture.method Snapshot, the access mode ReadWriteOnce, or stop the pod for the backup"
    )


def _unknown_user(namespace: str, claim: str) -> Refusal:
    message = f"namespace {namespace} enforces the Pod Security level restricted, and no pod says as which user PVC {claim} is to be read"
    return Refusal("WorkloadUserUnknown", f"{message}; set spec.capture.runAsUser of the policy, or securityContext.runAsUser of the pod")


def _users(claim: str, pods: tuple[Object, ...]) -> list[Object]:
    """The workload's pods that mount the claim, those that run first."""
    found = [
        pod
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGER
        and (pod.get("status") or {}).get("phase") not in _OVER
        and any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim for volume in pod["spec"].get("volumes") or ())
    ]
    return sorted(found, key=lambda pod: ((pod.get("status") or {}).get("phase") != "Running", pod["metadata"]["name"]))


def _choose_user(claim: str, pod: Object | None, namespace: Object, asked: int | None) -> RunsAs | None:
    """Root with the right to read everything where that is admitted, else the workload's user; None if nobody says who that is."""
    restricted = ((namespace.get("metadata") or {}).get("labels") or {}).get(_ENFORCED) == "restricted"
    if asked is None and not restricted:
        return ROOT
    general = ((pod or {}).get("spec") or {}).get("securityContext") or {}
    own = _container_context(claim, pod) if pod else {}
    user = asked or own.get("runAsUser") or general.get("runAsUser")
    if not user:
        return None
    group = own.get("runAsGroup") or general.get("runAsGroup") or user
    groups = [*([general["fsGroup"]] if general.get("fsGroup") is not None else []), *(general.get("supplementalGroups") or ())]
    return RunsAs(user=user, group=group, groups=tuple(dict.fromkeys(groups)))


def _container_context(claim: str, pod: Object) -> Object:
    """The security context of the first container that mounts the claim."""
    names = {
        volume["name"]
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim
    }
    for container in pod["spec"].get("containers") or ():
        if any(mount["name"] in names for mount in container.get("volumeMounts") or ()):
            return container.get("securityContext") or {}
    return {}


def _tolerations(pod: Object) -> tuple[Toleration, ...]:
    """Where the pod may be, its mover may be."""
    return tuple(
        Toleration(
            key=item.get("key"),
            operator=TolerationOperator(item.get("operator", "Equal")),
            value=item.get("value"),
            effect=TaintEffect(item["effect"]) if item.get("effect") else None,
            toleration_seconds=item.get("tolerationSeconds"),
        )
        for item in pod["spec"].get("tolerations") or ()
        if item.get("key") not in _OWN_TAINTS and item.get("operator", "Equal") in set(TolerationOperator)
    )
