"""Reads for the periodic sweep: everything that carries our labels, and which owners still exist.

The owners are listed after the children; the other way round a child of an owner born in between would look orphaned.
"""

from __future__ import annotations

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.controller.gather import Reader
from recoup.controller.kube import Object
from recoup.controller.resources import JOB, NAMESPACE, OWNERS, POD, PV, PVC, VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT
from recoup.plan.objects.identity import RESTORED_BY
from recoup.plan.observed import SweepObserved

SWEPT = (VOLUME_SNAPSHOT, VOLUME_SNAPSHOT_CONTENT, PVC, PV, JOB, POD)


def gather_sweep(reader: Reader) -> SweepObserved:
    """Read all that the sweep decides by. If it finds no child, the owners are not even asked for."""
    kube, around = reader.kube, reader.around
    children: list[Object] = []
    for resource in SWEPT:
        namespace = (
            around.movers_namespace if resource in (JOB, POD) else None
        )  # movers beside a workload go with their owner by themselves
        children += reader.list_optional(resource, namespace, labels=f"{MANAGED_BY}={MANAGER},{OWNER_UID}") or ()
    if not children:
        return SweepObserved(around=around)
    restored = tuple(kube.list(PVC, labels=RESTORED_BY))
    owners = frozenset(item["metadata"]["uid"] for resource in OWNERS.values() for item in kube.list_metadata(resource))
    wanted = {(ref["namespace"], ref["name"]) for item in children if (ref := (item.get("spec") or {}).get("claimRef"))}
    claims = {place: claim["metadata"]["uid"] for place in sorted(wanted) if (claim := reader.optional(PVC, *place)) is not None}
    namespaces = {item["metadata"]["name"]: item["metadata"]["uid"] for item in kube.list(NAMESPACE)}
    return SweepObserved(around=around, children=tuple(children), restored=restored, owners=owners, claims=claims, namespaces=namespaces)
