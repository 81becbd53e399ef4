"""Reads for one BackupPolicy."""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.controller.gather import Reader
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import LOCATION, SNAPSHOT
from recoup.plan.actions import Plan
from recoup.plan.policy import PolicyObserved, plan_policy


class PolicyReconciler:
    """Gather and plan of BackupPolicies."""

    def __init__(self, reader: Reader, ledger: FailureLedger) -> None:
        self._reader, self._ledger = reader, ledger

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> PolicyObserved:  # noqa: ARG002  # not by the time
        reader, metadata = self._reader.at_server if sure else self._reader, obj["metadata"]
        snapshots = reader.kube.list(SNAPSHOT, metadata["namespace"])
        return PolicyObserved(
            policy=obj,
            namespace=reader.namespace(metadata["namespace"]),
            location=reader.optional(LOCATION, None, obj["spec"]["locations"][0]["name"]),
            snapshots=tuple(item for item in snapshots if item["spec"]["policyRef"]["name"] == metadata["name"]),
            claims=reader.claims(metadata["namespace"]),
            failures=self._ledger.of(metadata["uid"]),
        )

    def plan(self, observed: PolicyObserved, now: datetime) -> Plan:
        return plan_policy(observed, now)

    def with_failures(self, observed: PolicyObserved, obj: Object) -> PolicyObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))
