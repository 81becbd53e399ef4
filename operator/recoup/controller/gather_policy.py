"""Reads for one BackupPolicy: its runs and claims, its vault's keys and upkeep, and the vault's recovery points at each location.

Catalogues come last, and fresh where an upkeep Job has ended: a Job seen as finished has then had its entries looked for.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.api.backuplocation import BackupLocation
from recoup.api.labels import OWNER_UID, UPKEEP_NAMESPACE
from recoup.api.names import label_value
from recoup.api.objects import decode
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_keys import VaultKeys, observe_keys
from recoup.controller.gather_snapshot import read_catalogue
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import LOCATION, RESTORE
from recoup.plan.actions import Plan
from recoup.plan.forgetting import needs_points
from recoup.plan.homes import choose_home_of, is_used, own_vault
from recoup.plan.observed import ApiFailure, Catalogue
from recoup.plan.policy import plan_policy
from recoup.plan.policy_observed import PolicyObserved, VaultElsewhere
from recoup.plan.policy_upkeep import wants_catalogues
from recoup.plan.snapshot_resolve import home_vault
from recoup.plan.suspicion import accepted_manifests
from recoup.plan.views import is_foreign

CATALOGUE_FOR = 600.0
"""Seconds for which one read of a location's log serves a policy, while no upkeep Job ends there."""


class PolicyReconciler:
    """Gather and plan of BackupPolicies."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger) -> None:
        self._reader, self._catalogues, self._ledger = reader, catalogues, ledger

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> PolicyObserved:
        reader, metadata = self._reader.at_server if sure else self._reader, obj["metadata"]
        snapshots = reader.snapshots_of(metadata["namespace"], metadata["name"])
        namespace = reader.namespace(metadata["namespace"])
        locations = self._locations(reader, obj)
        home = locations.get(choose_home_of(obj, locations, namespace, now))
        vault = home_vault(decode(BackupLocation, home), namespace["metadata"]["uid"]) if home and namespace else None
        keys = observe_keys(self._reader, self._catalogues, vault, now) if vault else VaultKeys()
        mine = tuple(item for item in snapshots if not is_foreign(item, namespace))
        handed_out = vault is None or not keys.ready or not needs_points(obj, mine) or self._catalogues.has_maintenance(vault)
        upkeep = reader.jobs_and_pods(f"{UPKEEP_NAMESPACE}={label_value(metadata['namespace'])}")
        observed = PolicyObserved(
            policy=obj,
            around=reader.around,
            namespace=namespace,
            location=home,
            locations=locations,
            snapshots=mine,
            accepted=accepted_manifests(item for item in snapshots if not is_foreign(item, namespace)),
            claims=reader.claims(metadata["namespace"]),
            vault=vault,
            vault_ready=keys.ready,
            maintenance_ready=handed_out,
            keys_jobs=keys.jobs,
            upkeep_jobs=upkeep,
            progress=self._reader.progress_of(upkeep, now),
            warnings=keys.warnings | reader.warnings_of(upkeep, now),
            restores=tuple(reader.kube.list(RESTORE, metadata["namespace"])) if _is_checked(obj) else (),
            storage_classes=reader.storage_classes() if "drill" in (obj["spec"].get("verification") or {}) else (),
            failures=self._ledger.of(metadata["uid"]),
        )
        if wants_catalogues(observed):
            assert vault is not None
            catalogues, unread = self._read_vault(observed, vault, now)
            observed = structs.replace(observed, catalogues=catalogues, catalogue_failures=unread)
        return structs.replace(observed, elsewhere=self._elsewhere(observed, now))

    def plan(self, observed: PolicyObserved, now: datetime) -> Plan:
        return plan_policy(observed, now)

    def with_failures(self, observed: PolicyObserved, obj: Object) -> PolicyObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))

    def _locations(self, reader: Reader, obj: Object) -> dict[str, Object]:
        found = {item["name"]: reader.optional(LOCATION, None, item["name"]) for item in obj["spec"]["locations"]}
        return {name: location for name, location in found.items() if location is not None}

    def _read_vault(self, observed: PolicyObserved, vault: str, now: datetime) -> tuple[dict[str, Catalogue], dict[str, ApiFailure]]:
        """What the policy's locations hold of a vault, and why it is not known of others."""
        catalogues: dict[str, Catalogue] = {}
        failures: dict[str, ApiFailure] = {}
        for name, location in observed.locations.items():
            age = 0.0 if _has_ended(observed.upkeep_jobs, location) else CATALOGUE_FOR
            catalogue, failure = read_catalogue(self._catalogues, location, vault, now, max_age=age)
            if catalogue is not None:
                catalogues[name] = catalogue
            if failure is not None:
                failures[name] = failure
        return catalogues, failures

    def _elsewhere(self, observed: PolicyObserved, now: datetime) -> tuple[VaultElsewhere, ...]:
        """The vaults that the policy used, or uses again when their home is back. Another policy's are not read at every location."""
        found: list[VaultElsewhere] = []
        for name, location in observed.locations.items():
            vault = own_vault(location, observed.namespace)
            if location is observed.location or vault is None or not self._catalogues.has_keys(vault):
                continue
            at_home, _ = read_catalogue(self._catalogues, location, vault, now, max_age=CATALOGUE_FOR)
            is_first = name == observed.policy["spec"]["locations"][0]["name"]
            if not is_first and not is_used(vault, observed.policy, observed.snapshots, [at_home] if at_home else ()):
                continue
            catalogues, unread = self._read_vault(observed, vault, now)
            ready = not needs_points(observed.policy, observed.snapshots) or self._catalogues.has_maintenance(vault)
            found.append(VaultElsewhere(home=name, vault=vault, maintenance_ready=ready, catalogues=catalogues, catalogue_failures=unread))
        return tuple(found)


def _is_checked(policy: Object) -> bool:
    """What restores met is of interest: damage, or the time they took."""
    spec = policy["spec"]
    return "verification" in spec or "rto" in (spec.get("objectives") or {})


def _has_ended(upkeep: tuple[Object, ...], location: Object) -> bool:
    """An upkeep Job at this location is over: its entries are to be looked for."""
    mine = (thing for thing in upkeep if thing["metadata"]["labels"].get(OWNER_UID) == location["metadata"]["uid"])
    return any((thing.get("status") or {}).get("conditions") for thing in mine if thing["kind"] == "Job")
