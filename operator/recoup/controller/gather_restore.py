"""Reads for one RestoreRequest. Whose vault may be read is decided by plan/restore_source.py before the catalogue is."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.api.labels import OWNER_UID, VOLUME
from recoup.api.names import volume_label
from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest, RestoreRequestStatus, RestoreState
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import read_catalogue
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, NODE, POD, POLICY, PV, PVC, RESTORE, SNAPSHOT
from recoup.plan.actions import Plan
from recoup.plan.homes import own_vault
from recoup.plan.movers import MoverState, judge_mover, pod_of
from recoup.plan.objects.identity import RESTORED_BY
from recoup.plan.observed import RestoreObserved
from recoup.plan.restore import plan_restore, wants_catalogue
from recoup.plan.restore_places import home_of, is_for, other_homes, policy_behind, reading_order
from recoup.plan.restore_plan import awaits_approval
from recoup.plan.restore_source import location_name, newest_of, vault_of
from recoup.plan.standby import wants_newer

CHILDREN = (PVC, PV, JOB, POD)
SETTLED_FOR = 60.0
"""Seconds for which one read of the catalogue serves once the points are chosen: what it says of them does not change."""
SURE_FOR = 10.0
"""The same for the second look, which makes sure of the first: it is about the cluster, and the log was read a moment ago."""
BEFORE_FILLED = (RestoreState.WAITING, RestoreState.RESTORING)


class RestoreReconciler:
    """Gather and plan of RestoreRequests. What is read follows the restore's phase, as in gather_snapshot.py."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger) -> None:
        self._reader, self._catalogues, self._ledger = reader, catalogues, ledger

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> RestoreObserved:
        reader = self._reader.at_server if sure else self._reader
        known = self._ledger.of(obj["metadata"]["uid"])
        request = decode(RestoreRequest, obj)
        status = request.status
        if status.completed_at is not None:
            return structs.replace(self._observe_rest(reader, obj, status, now), failures=known)
        if awaits_approval(request):
            return RestoreObserved(request=obj, around=reader.around, failures=known)
        if status.plan is None:
            observed = self._observe_source(reader, obj, self._observe_beginning(reader, obj), now)
            return structs.replace(observed, failures=known)
        observed = self._observe_work(reader, obj, status, now)
        at_work = _all_at_work(status, observed, now)
        if obj["spec"].get("cancel") or not at_work:
            observed = self._observe_volumes(reader, obj, observed, status, now)
        if not at_work and _some_to_start(status, observed, now):
            observed = self._observe_source(reader, obj, observed, now)
        elif not at_work and wants_newer(request):
            observed = self._observe_newer(reader, obj, observed, now)
        return structs.replace(observed, failures=known)

    def _observe_rest(self, reader: Reader, obj: Object, status: RestoreRequestStatus, now: datetime) -> RestoreObserved:
        """After the end only children that are left matter."""
        children = reader.children(obj["metadata"]["uid"], CHILDREN)
        work = RestoreObserved(request=obj, around=reader.around, children=children)
        return self._observe_volumes(reader, obj, work, status, now, listed=True) if children else work

    def _observe_beginning(self, reader: Reader, obj: Object) -> RestoreObserved:
        """Before the plan is settled there is no child; what decides is the source, and what is in the way of its targets."""
        own = obj["metadata"]["namespace"]
        earlier = tuple(self._reader.kube.list(RESTORE))
        return RestoreObserved(
            request=obj, around=reader.around, namespace=reader.namespace(own), claims=reader.claims(own), earlier=earlier
        )

    def _observe_work(self, reader: Reader, obj: Object, status: RestoreRequestStatus, now: datetime) -> RestoreObserved:
        """The movers and how they are doing: all that matters while each volume has one at work."""
        attempts = {str(volume.attempts) for volume in status.volumes if volume.attempts and volume.state in BEFORE_FILLED}
        children = reader.jobs_and_pods(f"{OWNER_UID}={obj['metadata']['uid']}", expected=attempts)
        progress, warnings = self._reader.progress_of(children, now), reader.warnings_of(children, now)
        return RestoreObserved(request=obj, around=reader.around, children=children, progress=progress, warnings=warnings)

    def _observe_volumes(
        self, reader: Reader, obj: Object, work: RestoreObserved, status: RestoreRequestStatus, now: datetime, *, listed: bool = False
    ) -> RestoreObserved:
        """The claims and volumes on both sides. `listed`: `work` has ours already."""
        own, uid = obj["metadata"]["namespace"], obj["metadata"]["uid"]
        claims = reader.claims(own)
        stored = tuple(child for child in work.children if child["kind"] in (PVC.kind, PV.kind))
        if not listed:
            stored = reader.children(uid, (PVC, PV))
        stored += _handed_over(reader, stored, claims, uid, status)
        movers = tuple(child for child in work.children if child["kind"] in (JOB.kind, POD.kind))
        warnings = work.warnings | reader.warnings_of(stored, now)
        return structs.replace(work, namespace=reader.namespace(own), claims=claims, children=(*stored, *movers), warnings=warnings)

    def _observe_source(self, reader: Reader, obj: Object, volumes: RestoreObserved, now: datetime) -> RestoreObserved:
        """Where the data come from, whether they may be read, and where they could go: to settle the plan and to start movers.

        The right to read is judged by the server's word whenever a mover may follow.
        """
        own, source = obj["metadata"]["namespace"], obj["spec"]["source"]
        settled = bool((obj.get("status") or {}).get("plan"))
        judge = reader.at_server if settled else reader
        snapshot = reader.optional(SNAPSHOT, own, (source.get("snapshotRef") or {}).get("name"))
        policy = reader.optional(POLICY, own, (source.get("policyRef") or {}).get("name"))
        behind = policy_behind(source, snapshot, reader.kube.list(POLICY, own))
        home = location_name(obj, snapshot, policy, home_of(obj, behind))
        observed = structs.replace(
            volumes,
            namespace=volumes.namespace if judge is reader else judge.namespace(own),
            snapshot=snapshot,
            policy=policy,
            storage_classes=reader.storage_classes(),
            nodes=tuple(reader.kube.list(NODE)),
        )
        age = SETTLED_FOR if settled else SURE_FOR if reader is reader.at_server else 0.0
        at_home = self._observe_home(observed, judge.optional(LOCATION, None, home), behind, now, age)
        places = [judge.optional(LOCATION, None, name) for name in other_homes(obj, home, behind)]
        elsewhere = [place for place in places if own_vault(place, observed.namespace) is not None]
        if not elsewhere:
            return at_home
        return newest_of([at_home, *(self._observe_home(observed, place, behind, now, age) for place in elsewhere)])

    def _observe_home(
        self, observed: RestoreObserved, location: Object | None, behind: Object | None, now: datetime, age: float
    ) -> RestoreObserved:
        """The vault of one home, and the places where it may be read."""
        reader, obj, snapshot = self._reader, observed.request, observed.snapshot
        observed = structs.replace(observed, location=location)
        vault = vault_of(obj, observed.namespace, location, snapshot)
        if location is None or vault is None:
            return observed
        places: dict[str, Object] = {}
        for name in reading_order(obj, location["metadata"]["name"], snapshot, behind):
            place = location if name == location["metadata"]["name"] else reader.optional(LOCATION, None, name)
            if place is location or (place is not None and is_for(place, observed.namespace)):
                places[name] = place
        observed = structs.replace(observed, places=places)
        return self._read_somewhere(observed, vault, now, age) if wants_catalogue(observed) else observed

    def _read_somewhere(self, observed: RestoreObserved, vault: str, now: datetime, age: float) -> RestoreObserved:
        """The catalogue from the first location that gives it."""
        for name, place in observed.places.items():
            catalogue, failure = read_catalogue(self._catalogues, place, vault, now, max_age=age)
            observed = structs.replace(observed, catalogue_failure=observed.catalogue_failure or failure)
            if catalogue is not None:
                return structs.replace(observed, catalogue=catalogue, read_from=name)
        return observed

    def _observe_newer(self, reader: Reader, obj: Object, observed: RestoreObserved, now: datetime) -> RestoreObserved:
        """For a standby that is complete: what there is by now. From memory; the right to read is judged anew before a mover starts."""
        location = reader.optional(LOCATION, None, location_name(obj, None, None))
        vault = vault_of(obj, observed.namespace, location)
        observed = structs.replace(observed, location=location)
        if location is None or vault is None:
            return observed
        age = SURE_FOR if reader is not self._reader else SETTLED_FOR / 2
        catalogue, failure = read_catalogue(self._catalogues, location, vault, now, max_age=age)
        return structs.replace(observed, catalogue=catalogue, catalogue_failure=failure)

    def plan(self, observed: RestoreObserved, now: datetime) -> Plan:
        return plan_restore(observed, now)

    def with_failures(self, observed: RestoreObserved, obj: Object) -> RestoreObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))


def _handed_over(
    reader: Reader, children: tuple[Object, ...], claims: tuple[Object, ...], uid: str, status: RestoreRequestStatus
) -> tuple[Object, ...]:
    """PersistentVolumes that are not known by their label: of our claims, of those that this request made, and as the status names them."""
    mine = [child for child in children if child["kind"] == PVC.kind]
    made = [claim for claim in claims if (claim["metadata"].get("labels") or {}).get(RESTORED_BY) == uid]
    named = {volume.persistent_volume for volume in status.volumes if volume.state is RestoreState.HANDING_OVER}
    named |= {claim["spec"].get("volumeName") for claim in (*mine, *made)}
    have = {child["metadata"]["name"] for child in children if child["kind"] == PV.kind}
    wanted = sorted(name for name in named if name and name not in have)
    return tuple(volume for name in wanted if (volume := reader.optional(PV, None, name)) is not None)


def _states(observed: RestoreObserved, now: datetime) -> dict[str, set[MoverState]]:
    """How the movers are doing, by the label of their volume and by the plan's own judgement."""
    pods = tuple(child for child in observed.children if child["kind"] == POD.kind)
    states: dict[str, set[MoverState]] = {}
    for job in (child for child in observed.children if child["kind"] == JOB.kind):
        verdict = judge_mover(job, pod_of(job, pods), now=now, warnings={})
        states.setdefault(job["metadata"]["labels"].get(VOLUME, ""), set()).add(verdict.state)
    return states


def _all_at_work(status: RestoreRequestStatus, observed: RestoreObserved, now: datetime) -> bool:
    """Each volume of the restore has a mover that runs."""
    states = _states(observed, now)
    return bool(status.volumes) and all(
        volume.state is RestoreState.RESTORING and MoverState.RUNNING in states.get(volume_label(volume.source), ())
        for volume in status.volumes
    )


def _some_to_start(status: RestoreRequestStatus, observed: RestoreObserved, now: datetime) -> bool:
    """A volume is not filled, and no mover is filling it or has just done so."""
    states = _states(observed, now)
    fine = {MoverState.RUNNING, MoverState.SUCCEEDED}
    unfilled = [volume for volume in status.volumes if volume.state in BEFORE_FILLED]
    return not status.volumes or any(not fine & states.get(volume_label(volume.source), set()) for volume in unfilled)
