"""Reads for one BackupSnapshot. The catalogue comes last: a Job seen as finished has then had its COMMIT looked for after its end."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.controller import failures
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, POD, POLICY, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from recoup.errors import RecoupError
from recoup.plan.actions import Plan
from recoup.plan.objects.identity import VAULT
from recoup.plan.observed import ApiFailure, Catalogue, SnapshotObserved, Ticket
from recoup.plan.snapshot import is_at_rest, location_name, plan_snapshot, vault_of, wants_catalogue

CHILDREN = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, JOB, POD)


class SnapshotReconciler:
    """Gather and plan of BackupSnapshots."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger) -> None:
        self._reader, self._catalogues, self._ledger = reader, catalogues, ledger

    def observe(self, obj: Object, now: datetime) -> SnapshotObserved:
        reader, metadata = self._reader, obj["metadata"]
        children = reader.children(metadata["uid"], CHILDREN)
        children += reader.contents_of([child for child in children if child["kind"] == VOLUME_SNAPSHOT.kind], children)
        known = self._ledger.of(metadata["uid"])
        if is_at_rest(obj):
            return SnapshotObserved(snapshot=obj, around=reader.around, children=children, failures=known)
        namespace = reader.namespace(metadata["namespace"])
        policy = reader.optional(POLICY, metadata["namespace"], obj["spec"]["policyRef"]["name"])
        location = reader.optional(LOCATION, None, location_name(obj, policy))
        vault = vault_of(obj, namespace, location)
        ready = vault is not None and self._catalogues.has_keys(vault)
        claims = reader.claims(metadata["namespace"])
        keys_jobs = self._keys_jobs(vault)
        observed = SnapshotObserved(
            snapshot=obj,
            around=reader.around,
            namespace=namespace,
            policy=policy,
            location=location,
            claims=claims,
            volumes=reader.volumes_of(claims),
            storage_classes=reader.storage_classes(),
            snapshot_classes=reader.snapshot_classes(),
            children=children,
            keys_jobs=keys_jobs,
            vault_ready=ready,
            tickets=self._tickets(obj, policy, vault, claims) if vault is not None and ready else {},
            progress=reader.progress_of(children),
            warnings=reader.warnings_of((*children, *keys_jobs)),
            failures=known,
        )
        if location is None or vault is None or not ready or not wants_catalogue(observed, now):
            return observed
        catalogue, failure = read_catalogue(self._catalogues, location, vault, now)
        return structs.replace(observed, catalogue=catalogue, catalogue_failure=failure)

    def plan(self, observed: SnapshotObserved, now: datetime) -> Plan:
        return plan_snapshot(observed, now)

    def with_failures(self, observed: SnapshotObserved, obj: Object) -> SnapshotObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))

    def _keys_jobs(self, vault: str | None) -> tuple[Object, ...]:
        if vault is None:
            return ()
        namespace = self._reader.around.movers_namespace
        return tuple(
            item for resource in (JOB, POD) for item in self._reader.list_optional(resource, namespace, labels=f"{VAULT}={vault}") or ()
        )

    def _tickets(self, obj: Object, policy: Object | None, vault: str, claims: tuple[Object, ...]) -> dict[str, Ticket]:
        status = obj.get("status") or {}
        policy_uid = status.get("policyUid") or (policy["metadata"]["uid"] if policy else "")
        uids = {claim["metadata"]["uid"] for claim in claims} | {volume["uid"] for volume in status.get("volumes") or () if volume["uid"]}
        slot = obj["spec"].get("slot") or obj["metadata"]["creationTimestamp"]  # both are times that no mover chose
        return {
            uid: self._catalogues.ticket(vault, policy_uid=policy_uid, slot=slot, snapshot_uid=obj["metadata"]["uid"], claim_uid=uid)
            for uid in sorted(uids)
        }


def read_catalogue(catalogues: Catalogues, location: Object, vault: str, now: datetime) -> tuple[Catalogue | None, ApiFailure | None]:
    """The catalogue, or why it can't be read. An API server that is away is no statement about the location: it is raised."""
    try:
        return catalogues.read(location, vault), None
    except failures.Unavailable:
        raise
    except RecoupError as error:
        return None, ApiFailure(reason=error.reason, message=str(error), at=now)
