"""Reads for one RestoreRequest. Whose vault may be read is decided by plan/restore_source.py before the catalogue is."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import read_catalogue
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, NODE, POD, POLICY, PV, PVC, SNAPSHOT
from recoup.plan.actions import Plan
from recoup.plan.objects.identity import RESTORED_BY
from recoup.plan.observed import RestoreObserved
from recoup.plan.restore import is_at_rest, plan_restore, wants_catalogue
from recoup.plan.restore_source import location_name, vault_of

CHILDREN = (PVC, PV, JOB, POD)


class RestoreReconciler:
    """Gather and plan of RestoreRequests."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger) -> None:
        self._reader, self._catalogues, self._ledger = reader, catalogues, ledger

    def observe(self, obj: Object, now: datetime) -> RestoreObserved:
        reader, metadata = self._reader, obj["metadata"]
        own, source = metadata["namespace"], obj["spec"]["source"]
        children = reader.children(metadata["uid"], CHILDREN)
        known = self._ledger.of(metadata["uid"])
        if is_at_rest(obj) and not children:
            return RestoreObserved(request=obj, around=reader.around, failures=known)
        claims = reader.claims(own)
        children += self._handed_over(children, claims, metadata["uid"])
        snapshot = reader.optional(SNAPSHOT, own, (source.get("snapshotRef") or {}).get("name"))
        policy = reader.optional(POLICY, own, (source.get("policyRef") or {}).get("name"))
        location = reader.optional(LOCATION, None, location_name(obj, snapshot, policy))
        namespace = reader.namespace(own)
        observed = RestoreObserved(
            request=obj,
            around=reader.around,
            namespace=namespace,
            snapshot=snapshot,
            policy=policy,
            location=location,
            claims=claims,
            children=children,
            storage_classes=reader.storage_classes(),
            nodes=tuple(reader.kube.list(NODE)),
            progress=reader.progress_of(children),
            warnings=reader.warnings_of(children),
            failures=known,
        )
        vault = vault_of(obj, namespace, location)
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
