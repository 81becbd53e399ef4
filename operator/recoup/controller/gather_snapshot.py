"""Reads for one BackupSnapshot. The catalogue comes last: a Job seen as finished has then had its COMMIT looked for after its end.

Mostly from the cache; where absence would have a snapshot taken, or `sure` is asked for, from the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import structs

from recoup.api.backupsnapshot import BackupSnapshot, BackupSnapshotStatus, VolumeState
from recoup.api.labels import OWNER_UID, VOLUME
from recoup.api.names import volume_label
from recoup.api.objects import decode
from recoup.controller import failures
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_keys import VaultKeys, observe_keys
from recoup.controller.hooks import HookRunner, SessionKey
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, POD, POLICY, PVC, SNAPSHOT, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from recoup.controller.seats import Seats, run_key
from recoup.errors import RecoupError
from recoup.plan.actions import Plan
from recoup.plan.homes import choose_home_of, own_vault
from recoup.plan.hooks import Order
from recoup.plan.live import is_live
from recoup.plan.movers import MoverState, judge_mover, pod_of
from recoup.plan.objects.identity import VAULT, is_child, is_handout
from recoup.plan.observed import ApiFailure, Catalogue, SnapshotObserved, Ticket
from recoup.plan.snapshot import hooks_ordered, location_name, movers_wanted, plan_snapshot, vault_of, wants_catalogue
from recoup.plan.snapshot_volume import FINAL

STORAGE = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC)
CHILDREN = (*STORAGE, JOB, POD)
CLEANED_WITHIN = timedelta(minutes=15)
"""So long after the end of a Live run its movers are looked for in the workload's namespace; each has an end of its own besides."""
UNSTARTED_FOR = 60.0
"""Seconds for which one read of the catalogue serves a run whose first mover is still to come."""


class SnapshotReconciler:
    """Gather and plan of BackupSnapshots. What is read follows the run's phase: nothing that the plan of that phase does not look at."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger, seats: Seats, hooks: HookRunner) -> None:
        self._reader, self._catalogues, self._ledger, self._seats, self._hooks = reader, catalogues, ledger, seats, hooks

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> SnapshotObserved:
        reader = self._reader.at_server if sure else self._reader
        known = self._ledger.of(obj["metadata"]["uid"])
        status = decode(BackupSnapshot, obj).status
        if status.completed_at is not None:
            self._seats.ask(run_key(obj), obj["metadata"]["uid"], ())
            self._seats.note(obj["metadata"]["uid"], ())
            self._hooks.forget(obj["metadata"]["uid"])
            return self._observe_rest(reader, obj, status, now)
        if status.run is None and not obj["metadata"].get("deletionTimestamp"):
            return structs.replace(self._observe_beginning(reader, obj, now), failures=known)
        observed = self._observe_work(reader, obj, status, now)
        if not _all_at_work(status, observed, now) or obj["spec"].get("cancel") or wants_catalogue(observed, now):
            observed = self._observe_run(reader, obj, observed, status, now)
            if observed.location is not None and status.vault and observed.vault_ready and wants_catalogue(observed, now):
                age = 0.0 if _was_started(status, observed) else UNSTARTED_FOR
                catalogue, failure = read_catalogue(self._catalogues, observed.location, status.vault, now, max_age=age)
                observed = structs.replace(observed, catalogue=catalogue, catalogue_failure=failure)
        observed = self._with_hooks(structs.replace(observed, failures=known), status, now)
        return structs.replace(observed, seats=self._seats.ask(run_key(obj), obj["metadata"]["uid"], movers_wanted(observed, now)))

    def _with_hooks(self, observed: SnapshotObserved, status: BackupSnapshotStatus, now: datetime) -> SnapshotObserved:
        """The hooks as they are, after what is to be done with them now."""
        if status.run is None or not (status.run.hooks.pre or status.run.hooks.post):
            return observed
        observed = structs.replace(observed, holder=self._hooks.holder, blocked_by=self._left_behind(observed.snapshot))
        if status.hooks is None or status.hooks.ended_at is not None:
            return observed
        run = run_key(observed.snapshot)
        key = SessionKey(observed.snapshot["metadata"]["uid"], status.hooks.attempt, status.hooks.holder != self._hooks.holder)
        observed = structs.replace(observed, hooks=self._hooks.session(key))
        match hooks_ordered(observed, now):
            case Order.BEGIN | Order.THAW:
                self._hooks.begin(key, run, status.run.hooks)
            case Order.RELEASE:
                self._hooks.release(key)
        return structs.replace(observed, hooks=self._hooks.session(key))

    def _left_behind(self, snapshot: Object) -> str:
        """Another run of the namespace whose hooks were begun by another process and have not ended; "" if there is none."""
        metadata = snapshot["metadata"]
        for other in self._reader.kube.list(SNAPSHOT, metadata["namespace"]):
            hooks = (other.get("status") or {}).get("hooks")
            if hooks and not hooks.get("endedAt") and hooks["holder"] != self._hooks.holder and other["metadata"]["uid"] != metadata["uid"]:
                return str(other["metadata"]["name"])
        return ""

    def _observe_rest(self, reader: Reader, obj: Object, status: BackupSnapshotStatus, now: datetime) -> SnapshotObserved:
        """After the end only children that are left matter, and what the logs of its vault say of the recovery point.

        The logs are not read here but for policies and runs; the snapshots are looked at when one of them brought news.
        """
        children = reader.children(obj["metadata"]["uid"], CHILDREN)
        if children:
            children += reader.contents_of([child for child in children if child["kind"] == VOLUME_SNAPSHOT.kind], children)
        if is_live(status) and status.completed_at is not None and now - status.completed_at < CLEANED_WITHIN:
            children += reader.beside_workload(obj["metadata"]["namespace"], obj["metadata"]["uid"])
        location = reader.optional(LOCATION, None, location_name(obj, None)) if children else None
        policy = reader.listed(POLICY, obj["metadata"]["namespace"], obj["spec"]["policyRef"]["name"])
        known = {copy.location for copy in status.copies}
        names = known | {item["name"] for item in (policy["spec"]["locations"] if policy else ())}
        held = {name: self._catalogues.known_at(name, status.vault) for name in sorted(names)} if status.vault else {}
        return SnapshotObserved(
            snapshot=obj,
            around=reader.around,
            policy=policy,
            children=children,
            location=location,
            locations=_found(reader, names - known),
            catalogues={name: catalogue for name, catalogue in held.items() if catalogue is not None},
            beside=self._beside(reader, obj, policy, status.vault),
        )

    def _beside(self, reader: Reader, obj: Object, policy: Object | None, vault: str | None) -> dict[str, tuple[Catalogue, ...]]:
        """What memory holds of the other vaults that the policy may have, by location: one for each of its locations that was home once."""
        names = [item["name"] for item in policy["spec"]["locations"]] if policy else []
        namespace = reader.namespace(obj["metadata"]["namespace"]) if len(names) > 1 else None
        if namespace is None:
            return {}
        others = {own_vault(reader.optional(LOCATION, None, name), namespace) for name in names} - {vault, None}
        held = {name: [self._catalogues.known_at(name, other) for other in sorted(filter(None, others))] for name in names}
        return {name: tuple(found for found in catalogues if found is not None) for name, catalogues in held.items()}

    def _observe_beginning(self, reader: Reader, obj: Object, now: datetime) -> SnapshotObserved:
        """Before the run is settled it has no child: what decides is the policy, its location, and the vault's keys."""
        own = obj["metadata"]["namespace"]
        namespace = reader.namespace(own)
        policy = reader.optional(POLICY, own, obj["spec"]["policyRef"]["name"])
        locations = _found(reader, {item["name"] for item in policy["spec"]["locations"]} if policy else ())
        location = locations.get(choose_home_of(policy, locations, namespace, now)) if policy else None
        vault = vault_of(obj, namespace, location)
        keys = observe_keys(self._reader, self._catalogues, vault, now) if vault is not None else VaultKeys()
        return SnapshotObserved(
            snapshot=obj,
            around=reader.around,
            namespace=namespace,
            policy=policy,
            location=location,
            locations=locations,
            claims=reader.claims(own),
            keys_jobs=keys.jobs if not keys.ready else (),
            vault_ready=keys.ready,
            warnings=keys.warnings,
        )

    def _observe_work(self, reader: Reader, obj: Object, status: BackupSnapshotStatus, now: datetime) -> SnapshotObserved:
        """The movers and how they are doing: all that matters while each volume has one at work."""
        metadata, live = obj["metadata"], is_live(status)
        attempts = {str(volume.attempts) for volume in status.volumes if volume.attempts and volume.state not in FINAL}
        children = reader.jobs_and_pods(f"{OWNER_UID}={metadata['uid']}", expected=() if live else attempts)
        if live:
            movers = reader.beside_workload(metadata["namespace"], metadata["uid"])
            self._seats.note(metadata["uid"], movers)
            children += movers
        return SnapshotObserved(
            snapshot=obj,
            around=reader.around,
            location=reader.optional(LOCATION, None, location_name(obj, None)),
            namespace=reader.namespace(metadata["namespace"]) if live else None,
            children=children,
            progress=self._reader.progress_of(children, now),
            warnings=reader.warnings_of(children, now),
        )

    def _observe_run(
        self, reader: Reader, obj: Object, work: SnapshotObserved, status: BackupSnapshotStatus, now: datetime
    ) -> SnapshotObserved:
        """Everything else: the volumes' own objects and, until each is handed over, where they come from."""
        metadata = obj["metadata"]
        stored = reader.children(metadata["uid"], STORAGE)
        waiting = 0
        if not is_live(status) and _is_to_be_cut(status, stored, metadata["uid"], reader.around.movers_namespace):
            waiting = self._seats.waiting_snapshots(run_key(obj), metadata["uid"])
            if waiting < self._seats.limits.waiting_snapshots or stored:
                stored = reader.at_server.children(metadata["uid"], STORAGE)
        stored += reader.contents_of([child for child in stored if child["kind"] == VOLUME_SNAPSHOT.kind], stored)
        vault, ready = status.vault, status.vault is not None and self._catalogues.has_keys(status.vault)
        observed = structs.replace(
            work,
            namespace=reader.namespace(metadata["namespace"]),
            children=(*stored, *work.children),
            storage_classes=reader.storage_classes(),
            vault_ready=ready,
            warnings=work.warnings | reader.warnings_of(stored, now),
            waiting_snapshots=waiting,
        )
        if vault is not None and ready:
            observed = structs.replace(observed, tickets=self._tickets(obj, vault, status), keys_jobs=self._finished_keys(vault, status))
        if all(volume.state in FINAL or _is_handed_over(stored, metadata["uid"], volume.uid) for volume in status.volumes):
            return observed
        claims = reader.claims(metadata["namespace"])
        wanted = {volume.uid for volume in status.volumes}
        mine = [claim for claim in claims if claim["metadata"]["uid"] in wanted]
        observed = structs.replace(observed, claims=claims, volumes=reader.volumes_of(mine))
        if not is_live(status):
            return structs.replace(observed, snapshot_classes=reader.snapshot_classes())
        own = metadata["namespace"]
        return structs.replace(observed, workload=tuple(reader.kube.list(POD, own)) if own in reader.around.live_namespaces else ())

    def plan(self, observed: SnapshotObserved, now: datetime) -> Plan:
        return plan_snapshot(observed, now)

    def with_failures(self, observed: SnapshotObserved, obj: Object) -> SnapshotObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))

    def _finished_keys(self, vault: str, status: BackupSnapshotStatus) -> tuple[Object, ...]:
        """The keys Job that this run waited for, until its first mover; later nobody waits for one."""
        started = any(volume.attempts for volume in status.volumes)
        return self._reader.jobs_and_pods(f"{VAULT}={vault}") if not started else ()

    def _tickets(self, obj: Object, vault: str, status: BackupSnapshotStatus) -> dict[str, Ticket]:
        metadata = obj["metadata"]
        slot = obj["spec"].get("slot") or metadata["creationTimestamp"]  # both are times that no mover chose
        uids = sorted({volume.uid for volume in status.volumes if volume.uid})
        return {
            uid: self._catalogues.ticket(vault, policy_uid=status.policy_uid or "", slot=slot, snapshot_uid=metadata["uid"], claim_uid=uid)
            for uid in uids
        }


def _found(reader: Reader, names: Iterable[str]) -> dict[str, Object]:
    """The BackupLocations of these names that exist."""
    return {name: found for name in sorted(names) if (found := reader.optional(LOCATION, None, name)) is not None}


def _all_at_work(status: BackupSnapshotStatus, observed: SnapshotObserved, now: datetime) -> bool:
    """Each volume of the run has a mover that runs, by the plan's own judgement."""
    pods = tuple(child for child in observed.children if child["kind"] == POD.kind)
    running = {
        child["metadata"]["labels"].get(VOLUME)
        for child in observed.children
        if child["kind"] == JOB.kind
        and not is_handout(child)
        and judge_mover(child, pod_of(child, pods), now=now, warnings={}).state is MoverState.RUNNING
    }
    return bool(status.volumes) and all(
        volume.state is VolumeState.UPLOADING and volume_label(volume.uid) in running for volume in status.volumes
    )


def _is_to_be_cut(status: BackupSnapshotStatus, stored: tuple[Object, ...], owner_uid: str, movers_namespace: str) -> bool:
    """Of a volume that is not over neither the snapshot nor what follows it is in sight, so one would be taken: is there really none?"""
    taken = [child for child in stored if child["kind"] != VOLUME_SNAPSHOT.kind or child["metadata"]["namespace"] != movers_namespace]
    open_volumes = [volume for volume in status.volumes if volume.uid and volume.state not in FINAL]
    return any(not any(is_child(child, owner_uid, volume.uid) for child in taken) for volume in open_volumes)


def _was_started(status: BackupSnapshotStatus, observed: SnapshotObserved) -> bool:
    """A mover of this run may have committed since the catalogue was last read; before the first one none can have."""
    return any(volume.attempts for volume in status.volumes) or any(child["kind"] == JOB.kind for child in observed.children)


def _is_handed_over(stored: tuple[Object, ...], owner_uid: str, volume_uid: str) -> bool:
    """Our own content is there: from then on nothing of the workload's is needed."""
    return any(
        child["kind"] == VOLUME_SNAPSHOT_CONTENT.kind
        and "snapshotHandle" in child["spec"]["source"]
        and is_child(child, owner_uid, volume_uid)
        for child in stored
    )


def read_catalogue(
    catalogues: Catalogues, location: Object, vault: str, now: datetime, *, max_age: float = 0.0
) -> tuple[Catalogue | None, ApiFailure | None]:
    """The catalogue, or why it can't be read. An API server that is away is no statement about the location: it is raised."""
    try:
        return catalogues.read(location, vault, max_age=max_age), None
    except failures.Unavailable:
        raise
    except RecoupError as error:
        return None, ApiFailure(reason=error.reason, message=str(error), at=now)
