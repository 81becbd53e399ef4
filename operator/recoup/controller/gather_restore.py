"""Reads for one RestoreRequest. Whose vault may be read is decided by plan/restore_source.py before the catalogue is."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID, VOLUME
from recoup.api.names import volume_label
from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest, RestoreRequestStatus, RestoreState
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import read_catalogue
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, NODE, POD, POLICY, PV, PVC, SNAPSHOT
from recoup.plan.actions import Plan
from recoup.plan.movers import MoverState, judge_mover, pod_of
from recoup.plan.objects.identity import RESTORED_BY
from recoup.plan.observed import RestoreObserved
from recoup.plan.restore import plan_restore, wants_catalogue
from recoup.plan.restore_source import location_name, vault_of

CHILDREN = (PVC, PV, JOB, POD)


class RestoreReconciler:
    """Gather and plan of RestoreRequests. What is read follows the restore's phase, as in gather_snapshot.py."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger) -> None:
        self._reader, self._catalogues, self._ledger = reader, catalogues, ledger

    def observe(self, obj: Object, now: datetime) -> RestoreObserved:
        known = self._ledger.of(obj["metadata"]["uid"])
        status = decode(RestoreRequest, obj).status
        if status.completed_at is not None:
            return structs.replace(self._observe_rest(obj, status.completed_at, now), failures=known)
        observed = self._observe_work(obj, now)
        at_work = _all_at_work(status, observed, now)
        if obj["spec"].get("cancel") or not at_work:
            observed = self._observe_volumes(obj, observed, now)
        before = (RestoreState.WAITING, RestoreState.RESTORING)
        to_start = status.plan is None or not status.volumes or any(volume.state in before for volume in status.volumes)
        if to_start and not at_work:
            observed = self._observe_source(obj, observed, now)
        return structs.replace(observed, failures=known)

    def _observe_rest(self, obj: Object, completed_at: datetime, now: datetime) -> RestoreObserved:
        """After the end only children that are left matter."""
        reader, metadata = self._reader, obj["metadata"]
        children = reader.leftovers(metadata["uid"], completed_at, now, CHILDREN)
        if not children:
            return RestoreObserved(request=obj, around=reader.around)
        work = RestoreObserved(request=obj, around=reader.around, children=children)
        return self._observe_volumes(obj, work, now, listed=True)

    def _observe_work(self, obj: Object, now: datetime) -> RestoreObserved:
        """The movers and how they are doing: all that matters while each volume has one at work."""
        reader = self._reader
        children = reader.jobs_and_pods(f"{MANAGED_BY}={MANAGER},{OWNER_UID}={obj['metadata']['uid']}")
        progress, warnings = reader.progress_of(children), reader.warnings_of(children, now)
        return RestoreObserved(request=obj, around=reader.around, children=children, progress=progress, warnings=warnings)

    def _observe_volumes(self, obj: Object, work: RestoreObserved, now: datetime, *, listed: bool = False) -> RestoreObserved:
        """The claims and volumes on both sides. `listed`: `work` has ours already."""
        reader, own, uid = self._reader, obj["metadata"]["namespace"], obj["metadata"]["uid"]
        claims = reader.claims(own)
        stored = tuple(child for child in work.children if child["kind"] in (PVC.kind, PV.kind))
        if not listed:
            stored = reader.children(uid, (PVC, PV))
        stored += self._handed_over(stored, claims, uid)
        movers = tuple(child for child in work.children if child["kind"] in (JOB.kind, POD.kind))
        warnings = work.warnings | reader.warnings_of(stored, now)
        return structs.replace(work, namespace=reader.namespace(own), claims=claims, children=(*stored, *movers), warnings=warnings)

    def _observe_source(self, obj: Object, volumes: RestoreObserved, now: datetime) -> RestoreObserved:
        """Where the data come from, whether they may be read, and where they could go: to settle the plan and to start movers."""
        reader, own, source = self._reader, obj["metadata"]["namespace"], obj["spec"]["source"]
        snapshot = reader.optional(SNAPSHOT, own, (source.get("snapshotRef") or {}).get("name"))
        policy = reader.optional(POLICY, own, (source.get("policyRef") or {}).get("name"))
        location = reader.optional(LOCATION, None, location_name(obj, snapshot, policy))
        observed = structs.replace(
            volumes,
            snapshot=snapshot,
            policy=policy,
            location=location,
            storage_classes=reader.storage_classes(),
            nodes=tuple(reader.kube.list(NODE)),
        )
        vault = vault_of(obj, observed.namespace, location)
        if location is None or vault is None or not wants_catalogue(observed):
            return observed
        catalogue, failure = read_catalogue(self._catalogues, location, vault, now)
        return structs.replace(observed, catalogue=catalogue, catalogue_failure=failure)

    def plan(self, observed: RestoreObserved, now: datetime) -> Plan:
        return plan_restore(observed, now)

    def with_failures(self, observed: RestoreObserved, obj: Object) -> RestoreObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))

    def _handed_over(self, children: tuple[Object, ...], claims: tuple[Object, ...], uid: str) -> tuple[Object, ...]:
        """The PersistentVolumes of the movers' claims and of the claims that this request made, less those known by their label."""
        made = [claim for claim in claims if (claim["metadata"].get("labels") or {}).get(RESTORED_BY) == uid]
        have = {child["metadata"]["name"] for child in children if child["kind"] == PV.kind}
        volumes = self._reader.volumes_of([*(child for child in children if child["kind"] == PVC.kind), *made])
        return tuple(volume for volume in volumes if volume["metadata"]["name"] not in have)


def _all_at_work(status: RestoreRequestStatus, observed: RestoreObserved, now: datetime) -> bool:
    """Each volume of the restore has a mover that runs, by the plan's own judgement."""
    pods = tuple(child for child in observed.children if child["kind"] == POD.kind)
    running = {
        child["metadata"]["labels"].get(VOLUME)
        for child in observed.children
        if child["kind"] == JOB.kind and judge_mover(child, pod_of(child, pods), now=now, warnings={}).state is MoverState.RUNNING
    }
    return bool(status.volumes) and all(
        volume.state is RestoreState.RESTORING and volume_label(volume.source) in running for volume in status.volumes
    )
