"""Reads for BackupSnapshots that are views of a catalogue, and for the location that wants them.

What a view shows comes from memory; it is the location's look that reads the logs on. Which objects exist is asked of the cache by name
and label, so that ten thousand of them cost no more than their names.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime

from msgspec import structs

from recoup.api.backuplocation import BackupLocation, Vault
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.labels import MANAGED_BY, MANAGER, ORIGIN_VAULT, OWNER_UID
from recoup.api.objects import decode
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import SnapshotReconciler, read_catalogue
from recoup.controller.kube import Object
from recoup.controller.resources import LOCATION, NAMESPACE, SNAPSHOT
from recoup.plan.access import Namespace, Refusal, adopted_vaults, ambiguous_adoptions
from recoup.plan.actions import Plan
from recoup.plan.observed import Catalogue, SnapshotObserved
from recoup.plan.recovered_points import UNKNOWN_POLICY, RecordedRun, group_runs
from recoup.plan.views import READ_EVERY, Listed, Present, ViewObserved, ViewsObserved, is_view, origin_vault, plan_view

FROM_MEMORY = 600.0
"""Seconds for which one read of a log serves the views of it: the location reads it on much more often."""

Runs = Mapping[str, RecordedRun]


class Views:
    """Thread-safe. Remembers how the runs of a catalogue are grouped, as long as that catalogue is the newest."""

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._grouped: dict[tuple[str, str], tuple[Catalogue, dict[str, RecordedRun]]] = {}
        self._lock = threading.Lock()

    def observe(self, reader: Reader, obj: Object, now: datetime) -> ViewObserved:
        """One view."""
        origin = decode(BackupSnapshot, obj).spec.origin
        assert origin is not None
        namespace = reader.namespace(obj["metadata"]["namespace"])
        location = reader.optional(LOCATION, None, origin.location)
        observed = ViewObserved(snapshot=obj, namespace=namespace, location=location)
        if namespace is None or location is None:
            return observed
        vault = origin_vault(origin, decode(BackupLocation, location), _as_reader(namespace))
        if isinstance(vault, Refusal):
            return observed
        catalogue, failure = read_catalogue(self._catalogues, location, vault.id, now, max_age=FROM_MEMORY)
        if catalogue is None:
            return structs.replace(observed, failure=failure)
        return structs.replace(observed, run=self._runs(location, catalogue).get(origin.run))

    def observe_all(self, reader: Reader, obj: Object, now: datetime) -> ViewsObserved:
        """What the location's catalogue wants in each namespace that adopts something of it or has its own vault there."""
        location = decode(BackupLocation, obj)
        listed: list[Listed] = []
        unread: set[tuple[str, str]] = set()
        alive = _alive(reader, location)
        readers = [alive[name] for name in sorted({adoption.to.namespace for adoption in location.spec.adopt}) if name in alive]
        own = [(vault.namespace, vault) for vault in location.status.vaults if _is_own(vault, alive)]
        wanted = [(one.name, vault) for one in readers for vault in adopted_vaults(location, one)]
        present = self._present(reader, location, {name for name, _ in (*wanted, *own)})
        for name, vault in own:
            known = self._catalogues.known(obj, vault.id)  # nothing is read for what is hardly ever missing
            if known is None:
                unread.add((name, vault.id))
                continue
            runs = {run.id: run for run in self._runs(obj, known).values() if run.name and run.policy != UNKNOWN_POLICY}
            listed.append(Listed(namespace=name, vault=vault, runs=runs, foreign=False))
        for name, vault in wanted:
            catalogue, _ = read_catalogue(self._catalogues, obj, vault.id, now, max_age=READ_EVERY / 2)
            if catalogue is None or catalogue.fingerprint != vault.fingerprint:
                unread.add((name, vault.id))
                continue
            listed.append(Listed(namespace=name, vault=vault, runs=self._runs(obj, catalogue), foreign=True))
        ambiguous = tuple(ambiguous_adoptions(location, readers))
        return ViewsObserved(location=location, listed=tuple(listed), unread=frozenset(unread), present=present, ambiguous=ambiguous)

    def _present(self, reader: Reader, location: BackupLocation, namespaces: set[str]) -> dict[str, tuple[Present, ...]]:
        """The views of this location, by namespace, and whatever else is in those namespaces: its names are taken."""
        mine = f"{MANAGED_BY}={MANAGER},{OWNER_UID}={location.metadata.uid},{ORIGIN_VAULT}"
        found: dict[tuple[str, str], Present] = {}
        for namespace, labels in ((None, mine), *((name, "") for name in sorted(namespaces))):
            for item in reader.kube.list_metadata(SNAPSHOT, namespace, labels=labels):
                metadata = item["metadata"]
                found[metadata["namespace"], metadata["name"]] = Present(metadata["name"], metadata["uid"], metadata.get("labels") or {})
        by_namespace: dict[str, list[Present]] = {}
        for (namespace, _), view in found.items():
            by_namespace.setdefault(str(namespace), []).append(view)
        return {namespace: tuple(items) for namespace, items in by_namespace.items()}

    def _runs(self, location: Object, catalogue: Catalogue) -> dict[str, RecordedRun]:
        key = (location["metadata"]["uid"], catalogue.vault)
        with self._lock:
            known = self._grouped.get(key)
            if known is None or known[0] is not catalogue:
                known = self._grouped[key] = (catalogue, group_runs(catalogue.points))
        return known[1]


def _alive(reader: Reader, location: BackupLocation) -> dict[str, Namespace]:
    """The namespaces that are there and stay, by name; none are asked for where none can be concerned."""
    if not location.status.vaults:
        return {}
    found = (item for item in reader.kube.list(NAMESPACE) if not item["metadata"].get("deletionTimestamp"))
    return {item["metadata"]["name"]: _as_reader(item) for item in found}


def _is_own(vault: Vault, alive: Mapping[str, Namespace]) -> bool:
    """The vault of a namespace as it is now, at its home."""
    namespace = alive.get(vault.namespace)
    return namespace is not None and namespace.uid == vault.namespace_uid and not vault.replica


def _as_reader(namespace: Object) -> Namespace:
    return Namespace(name=namespace["metadata"]["name"], uid=namespace["metadata"]["uid"])


class RunsAndViews:
    """The reconciler of BackupSnapshots: runs of this cluster, and views of what a catalogue has."""

    def __init__(self, reader: Reader, runs: SnapshotReconciler, views: Views) -> None:
        self._reader, self._runs, self._views = reader, runs, views

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> SnapshotObserved | ViewObserved:
        if not is_view(obj):
            return self._runs.observe(obj, now, sure=sure)
        return self._views.observe(self._reader.at_server if sure else self._reader, obj, now)

    def plan(self, observed: SnapshotObserved | ViewObserved, now: datetime) -> Plan:
        return plan_view(observed, now) if isinstance(observed, ViewObserved) else self._runs.plan(observed, now)

    def with_failures(self, observed: SnapshotObserved | ViewObserved, obj: Object) -> SnapshotObserved | ViewObserved:
        return observed if isinstance(observed, ViewObserved) else self._runs.with_failures(observed, obj)
