"""Which recovery point a RestoreRequest means, and whether its namespace may read it.

A namespace reads its own vault, which is bound to its uid; any other only by a grant on the location (access.py). What a BackupSnapshot or
a policy says about itself is used to find the point, never to decide whose vault is opened. The functions without a catalogue are for the
gatherer, which has to know what to read.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest, SourceNamespace
from recoup.plan.access import Namespace, Refusal, resolve_source
from recoup.plan.actions import Object
from recoup.plan.observed import Catalogue, Point, RestoreObserved
from recoup.plan.recovered_points import run_of
from recoup.plan.snapshot_resolve import home_vault
from recoup.plan.views import is_view


class SourceVault(Struct, frozen=True):
    """A vault that the request may read. fingerprint: the pinned one, empty if none was recorded yet."""

    id: str
    namespace: str
    namespace_uid: str
    fingerprint: str


class Chosen(Struct, frozen=True):
    """The points to restore, one a volume, all of one run."""

    points: tuple[Point, ...]
    snapshot: str
    policy: str
    taken_at: datetime


def location_name(request: Object, snapshot: Object | None, policy: Object | None, home: str | None = None) -> str | None:
    """The location that the vault is judged by: as settled, else as the source names it, else where snapshot or policy have their home.

    `home`: where the source names a place with copies, the home of what is copied there (restore_places.py).
    """
    settled: str | None = ((request.get("status") or {}).get("plan") or {}).get("location")
    source = request["spec"]["source"]
    named: str | None = settled or home or source.get("location")
    if named:
        return named
    if source.get("snapshotRef") and snapshot is not None:
        if is_view(snapshot):
            shown: str = snapshot["spec"]["origin"]["location"]
            return shown
        stored: str | None = (snapshot.get("status") or {}).get("location")
        return stored
    return decode(BackupPolicy, policy).spec.home if source.get("policyRef") and policy is not None else None


def vault_of(request: Object, namespace: Object | None, location: Object | None, snapshot: Object | None = None) -> str | None:
    """The vault to read, or None if the request may not read any or it can't be told yet."""
    if namespace is None or location is None:
        return None
    found = source_vault(decode(RestoreRequest, request), _as_reader(namespace), decode(BackupLocation, location), snapshot)
    return None if isinstance(found, Refusal) else found.id


def source_vault(
    request: RestoreRequest, reader: Namespace, location: BackupLocation, snapshot: Object | None = None
) -> SourceVault | Refusal:
    """The vault that the request means and may read now. A settled plan is judged anew: a grant may have been taken back.

    `snapshot`: what snapshotRef names; a view of the catalogue says which vault it shows, and is no right to read it.
    """
    source = request.spec.source
    whose, exact = source.namespace, None
    if request.status.plan is not None:
        whose = SourceNamespace(name=request.status.plan.namespace, uid=request.status.plan.namespace_uid)
        exact = request.status.plan.vault
    elif snapshot is not None and is_view(snapshot):
        origin = snapshot["spec"]["origin"]
        whose, exact = SourceNamespace(name=origin["namespace"]["name"], uid=origin["namespace"]["uid"]), origin["vault"]
    if whose is None or whose.uid == reader.uid or _is_own_name(location, whose, reader):
        own = [known for known in location.status.vaults if known.namespace_uid == reader.uid and exact in (None, known.id)]
        vault = home_vault(location, reader.uid)
        if own and vault not in {known.id for known in own}:  # a copy of it, or one of an earlier BackupLocation
            vault = own[0].id
        fingerprint = next((known.fingerprint for known in location.status.vaults if known.id == vault), "")
        return SourceVault(vault, reader.name, reader.uid, fingerprint)
    found = resolve_source(location, whose, reader, exact)
    if isinstance(found, Refusal):
        return found
    return SourceVault(found.id, found.namespace, found.namespace_uid, found.fingerprint)


def reader_of(request: RestoreRequest, namespace: Object) -> Namespace:
    return Namespace(name=request.metadata.namespace or "", uid=namespace["metadata"]["uid"])


def newest_of(candidates: Sequence[RestoreObserved]) -> RestoreObserved:
    """Of the vaults that a policy has at several homes, the one with what the request asks for: with the newest of it.

    While one of them can't be read anywhere nothing is chosen, or an old point could pass for the newest; an id is found wherever it is.
    """
    found: list[tuple[datetime, RestoreObserved]] = []
    for each in candidates:
        request = decode(RestoreRequest, each.request)
        if each.catalogue is None and request.spec.source.id is None:
            return each
        if each.location is None or each.namespace is None or each.catalogue is None:
            continue
        vault = source_vault(request, reader_of(request, each.namespace), decode(BackupLocation, each.location))
        chosen = vault if isinstance(vault, Refusal) else choose_points(request, None, each.catalogue, vault)
        if not isinstance(chosen, Refusal):
            found.append((chosen.taken_at, each))
    return max(found, key=lambda pair: pair[0])[1] if found else candidates[0]


def choose_points(request: RestoreRequest, snapshot: Object | None, catalogue: Catalogue, vault: SourceVault) -> Chosen | Refusal:
    """The recovery point that the source means."""
    source = request.spec.source
    points = tuple(point for point in catalogue.points if point.source.namespace_uid in ("", vault.namespace_uid))
    if source.id is not None:
        return _by_id(points, source.id)
    if source.snapshot_ref is not None:
        name = source.snapshot_ref.name
        if snapshot is not None and is_view(snapshot):
            matching = tuple(point for point in points if run_of(point) == snapshot["spec"]["origin"]["run"])
        else:
            uid = snapshot["metadata"]["uid"] if snapshot is not None else ""
            matching = tuple(point for point in points if point.snapshot_uid == uid)
        if not matching:
            message = f"BackupSnapshot {request.metadata.namespace}/{name} has no volume that is stored; choose another recovery point"
            return Refusal("NoRecoveryPoint", message)
        return _newest_each(matching)
    policy = source.policy_ref.name if source.policy_ref else source.policy or ""
    return _by_policy(request, points, policy, source.as_of)


def _by_id(points: tuple[Point, ...], wanted: str) -> Chosen | Refusal:
    matching = tuple(point for point in points if point.manifest.startswith(wanted))
    if not matching:
        return Refusal("NoRecoveryPoint", f"no recovery point's id begins with {wanted}; `kubectl recoup snapshots --volumes` shows ids")
    if len({point.manifest for point in matching}) > 1:
        shown = ", ".join(sorted(point.manifest[:16] for point in matching)[:5])
        return Refusal("AmbiguousId", f"{len(matching)} recovery points' ids begin with {wanted} ({shown}); give more digits")
    return _newest_each(matching)


def _by_policy(request: RestoreRequest, points: tuple[Point, ...], policy: str, as_of: datetime | None) -> Chosen | Refusal:
    """The newest run that has every volume asked for; without a list, every volume that the run had."""
    runs: dict[str, list[Point]] = {}
    for point in points:
        if point.policy == policy and (as_of is None or point.taken_at <= as_of):
            runs.setdefault(point.snapshot_uid or point.session, []).append(point)
    wanted = {volume.source for volume in request.spec.volumes}
    whole = [run for run in runs.values() if _is_whole(run, wanted)]
    if whole:
        return _newest_each(tuple(max(whole, key=lambda run: max(point.taken_at for point in run))))
    when = f" that is not newer than {as_of.isoformat()}" if as_of else ""
    what = f"with the volumes {', '.join(sorted(wanted))}" if wanted else "with all its volumes"
    message = f"policy {policy} has no recovery point {what}{when}; `kubectl recoup snapshots` lists what there is"
    if runs and not wanted:
        message += "; of an incomplete one, name the volumes that it has in spec.volumes"
    return Refusal("NoRecoveryPoint", message)


def _is_whole(run: list[Point], wanted: set[str]) -> bool:
    if wanted:
        return wanted <= {point.source.persistent_volume_claim for point in run}
    expected = {uid for point in run for uid in point.volumes_expected}
    return expected <= {point.source.persistent_volume_claim_uid for point in run}


def _newest_each(points: tuple[Point, ...]) -> Chosen:
    newest: dict[str, Point] = {}
    for point in sorted(points, key=lambda point: point.taken_at):
        newest[point.source.persistent_volume_claim] = point
    first = next(iter(newest.values()))
    return Chosen(tuple(newest.values()), first.snapshot, first.policy, min(point.taken_at for point in newest.values()))


def _is_own_name(location: BackupLocation, whose: SourceNamespace, reader: Namespace) -> bool:
    """The request's own name, unless the location knows only an earlier namespace of that name: that one's data take a grant."""
    if whose.name != reader.name or whose.uid is not None:
        return False
    if any(adoption.source.namespace == whose.name and adoption.to.namespace == reader.name for adoption in location.spec.adopt):
        return False
    mine = any(vault.namespace_uid == reader.uid for vault in location.status.vaults)
    return mine or not any(vault.namespace == whose.name for vault in location.status.vaults)


def _as_reader(namespace: Object) -> Namespace:
    return Namespace(name=namespace["metadata"]["name"], uid=namespace["metadata"]["uid"])
