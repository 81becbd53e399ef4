"""Which BackupSnapshots a location's catalogue wants, and the views among them: made, shown, and removed with their recovery points.

The location has the whole list in view, and makes and removes the objects, some hundred a look. Each view then says by itself what the
catalogue says of it, and whether its namespace may still read that: an object in a namespace is no right.
"""

from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import KIND, BackupLocation, Vault
from recoup.api.backupsnapshot import CAPTURED, STORED, BackupSnapshot, BackupSnapshotStatus, Origin
from recoup.api.backupsnapshot import KIND as SNAPSHOT_KIND
from recoup.api.conditions import drop_condition, set_not_ready, set_stalled
from recoup.api.labels import ORIGIN_RUN, ORIGIN_VAULT, OWNER_UID
from recoup.api.objects import API_VERSION, decode, encode
from recoup.plan.access import Namespace, Refusal, adopted_vaults
from recoup.plan.actions import Action, Create, Delete, Object, Plan
from recoup.plan.objects.identity import Owner
from recoup.plan.observed import ApiFailure, FailureKey
from recoup.plan.recovered_points import RecordedRun, build_view, describe_view, own_name, view_name

AT_ONCE = 500
"""Objects that one look makes or removes, so that other objects of the cluster get their turn."""
READ_EVERY = 60.0
"""Seconds between two looks at the logs of adopted vaults: one request each, if nothing is new."""
_RETRY = 60.0


class Present(Struct, frozen=True):
    """A BackupSnapshot that exists, without spec and status."""

    name: str
    uid: str
    labels: dict[str, str]


class Listed(Struct, frozen=True, kw_only=True):
    """One vault's runs as they belong into one namespace. foreign: not the namespace's own; those get objects of their own names."""

    namespace: str
    vault: Vault
    runs: dict[str, RecordedRun]
    foreign: bool


class ViewsObserved(Struct, frozen=True, kw_only=True):
    """listed: for each namespace that lives, its adopted vaults and its own one, as far as their catalogues could be read.

    unread: (namespace, vault id) of those that could not. present: by namespace, every BackupSnapshot in those of `listed`, and every view
    of this location elsewhere. ambiguous: entries of catalogue.adopt that fit several namespaces. failures: as everywhere.
    """

    location: BackupLocation
    listed: tuple[Listed, ...] = ()
    unread: frozenset[tuple[str, str]] = frozenset()
    ambiguous: tuple[str, ...] = ()
    present: dict[str, tuple[Present, ...]] = {}
    failures: dict[FailureKey, ApiFailure] = {}


class Views(Struct, frozen=True):
    """The next writes, and whether more are to follow."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


def plan_views(observed: ViewsObserved) -> Views:
    """Make what is missing and remove what is no more; what could not be read stays as it is."""
    owner = _owner(observed.location)
    wanted: list[Create | Delete] = []
    kept: set[tuple[str, str, str]] = set()
    for listed in observed.listed:
        made, here = _missing(owner, listed, observed.present.get(listed.namespace, ()))
        wanted += made
        kept |= here
    gone: list[Create | Delete] = [
        Delete(api_version=API_VERSION, kind=SNAPSHOT_KIND, namespace=namespace, name=view.name, uid=view.uid)
        for namespace, views in sorted(observed.present.items())
        for view in views
        if view.labels.get(OWNER_UID) == owner.uid and ORIGIN_VAULT in view.labels
        if (namespace, view.labels[ORIGIN_VAULT]) not in observed.unread
        if (namespace, view.labels[ORIGIN_VAULT], view.labels.get(ORIGIN_RUN, "")) not in kept
    ]
    actions = sorted([*wanted, *gone], key=lambda action: _was_refused(action, observed))  # the one refusal hides none of the others
    adopts = any(listed.foreign for listed in observed.listed)
    again = 0.0 if len(actions) > AT_ONCE else READ_EVERY if adopts or observed.unread else None
    return Views(tuple(actions[:AT_ONCE]), again)


def _missing(owner: Owner, listed: Listed, present: tuple[Present, ...]) -> tuple[list[Create], set[tuple[str, str, str]]]:
    """What is to be made in the namespace, and the (namespace, vault, run) of all that belongs there."""
    names = frozenset(item.name for item in present)
    known = {item.labels.get(ORIGIN_RUN, item.uid) for item in present if item.labels.get(ORIGIN_VAULT, listed.vault.id) == listed.vault.id}
    name_of = view_name if listed.foreign else (lambda vault, run: own_name(vault, run, names))
    made = [
        Create(build_view(owner, listed.vault, run, name=name_of(listed.vault, run), namespace=listed.namespace))
        for run in listed.runs.values()
        if run.id not in known
    ]
    return made, {(listed.namespace, listed.vault.id, run) for run in listed.runs}


def _was_refused(action: Create | Delete, observed: ViewsObserved) -> bool:
    return (action.kind, action.namespace or "", action.name) in observed.failures


class ViewObserved(Struct, frozen=True, kw_only=True):
    """What one view's look rests on. run: None if the catalogue has none of that identity; failure: it could not be read."""

    snapshot: Object
    namespace: Object | None = None
    location: Object | None = None
    run: RecordedRun | None = None
    failure: ApiFailure | None = None


def is_view(snapshot: Object) -> bool:
    """The object is a view of the catalogue, and no run of this cluster."""
    return bool((snapshot.get("spec") or {}).get("origin"))


def is_foreign(snapshot: Object, namespace: Object | None) -> bool:
    """A view of another namespace's recovery point, which counts for no policy here."""
    origin = (snapshot.get("spec") or {}).get("origin")
    return origin is not None and (namespace is None or origin["namespace"]["uid"] != namespace["metadata"]["uid"])


def origin_vault(origin: Origin, location: BackupLocation, reader: Namespace) -> Vault | Refusal:
    """The vault that a view in namespace `reader` names, if that may see it now."""
    own = [vault for vault in location.status.vaults if vault.id == origin.vault and vault.namespace_uid == reader.uid]
    found = [vault for vault in (*own, *adopted_vaults(location, reader)) if vault.id == origin.vault]
    if found:
        return found[0]
    whose = f"{{namespace: {origin.namespace.name}, uid: {origin.namespace.uid}}}"
    return Refusal(
        "NotAdopted",
        f"namespace {reader.name} may not see recovery points of namespace {origin.namespace.name} at BackupLocation"
        f" {location.metadata.name}; the platform team can allow it by adding to its spec.catalogue.adopt:"
        f" {{from: {whose}, to: {{namespace: {reader.name}, uid: {reader.uid}}}}}",
    )


def plan_view(observed: ViewObserved, now: datetime) -> Plan:
    """What the view shows. With its location it goes: there is no catalogue any more that it could show."""
    snapshot = decode(BackupSnapshot, observed.snapshot)
    metadata, origin = snapshot.metadata, snapshot.spec.origin
    if metadata.deletion_timestamp is not None or observed.namespace is None or origin is None:
        return Plan()
    if observed.location is None:
        return Plan(
            actions=(
                Delete(api_version=API_VERSION, kind=SNAPSHOT_KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid),
            )
        )
    location = decode(BackupLocation, observed.location)
    reader = Namespace(name=metadata.namespace or "", uid=observed.namespace["metadata"]["uid"])
    vault = origin_vault(origin, location, reader)
    if isinstance(vault, Refusal):
        return _refused(snapshot, vault, now)
    if observed.run is None:
        failure = observed.failure
        if failure is None:
            message = f"the catalogue of BackupLocation {location.metadata.name} does not have this recovery point, any more or yet"
            return _refused(snapshot, Refusal("RecoveryPointGone", message), now)
        if snapshot.status.completed_at is not None:  # it was shown before; the location's conditions tell that it is away
            return Plan(requeue_after=_RETRY)
        message = f"BackupLocation {location.metadata.name} can't be read: {failure.message}"
        conditions = set_not_ready(snapshot.status.conditions, failure.reason, message, now=now, generation=metadata.generation)
        return Plan(
            status=encode(BackupSnapshotStatus(observed_generation=metadata.generation, conditions=conditions)), requeue_after=_RETRY
        )
    foreign = vault.namespace_uid != reader.uid
    status = describe_view(
        snapshot.status.conditions, location, vault, observed.run, foreign=foreign, now=now, generation=metadata.generation
    )
    return Plan(status=encode(status))


def _refused(snapshot: BackupSnapshot, refusal: Refusal, now: datetime) -> Plan:
    """Nothing of the recovery point is told to a namespace that may not see it."""
    generation = snapshot.metadata.generation
    kept = drop_condition(drop_condition(snapshot.status.conditions, CAPTURED), STORED)
    conditions = set_stalled(kept, refusal.reason, refusal.message, now=now, generation=generation)
    return Plan(status=encode(BackupSnapshotStatus(observed_generation=generation, conditions=conditions)), requeue_after=_RETRY)


def _owner(location: BackupLocation) -> Owner:
    return Owner(kind=KIND, namespace="", name=location.metadata.name, uid=location.metadata.uid)
