"""Reads the lists of recovery points from locations, with credentials that can only read; signs run tickets.

What is kept in memory is how far each log was read (a cache: without it everything is read again), the Secrets for a minute, and
how often a location failed: after repeated failures it is left alone for a while and its last error repeated, so that a place
that hangs can't take all workers. Holds no key that opens content.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from msgspec import field, structs

from recoup.api.backuplocation import S3, BackupLocation
from recoup.api.names import adopted_secret, catalogue_secret
from recoup.api.objects import decode
from recoup.controller import failures
from recoup.controller.handout import MAINTENANCE, has_role
from recoup.controller.kube import Kube, Object
from recoup.controller.logs import Redactor
from recoup.controller.metrics import Metrics
from recoup.controller.points import to_drill, to_garbage, to_point, to_verification
from recoup.controller.resources import SECRET
from recoup.errors import Denied, KeyUnavailable, RecoupError, Retryable
from recoup.plan.observed import Catalogue, Point, Ticket
from recoup.typeinfo import build_type_info
from recoup.value import Record

if TYPE_CHECKING:
    from recoup.engine import catalogue as engine
    from recoup.engine.stores.base import Store

OpenStore = Callable[[S3, dict[str, str]], "Store"]
"""Opens a location with the entries of its Secret (accessKeyID, secretAccessKey, sessionToken); wired in cli/controller.py."""

T = TypeVar("T")

SECRETS_FOR = 60.0
READS_AT_ONCE = 2
OPENS_AFTER = 3
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 300.0


class _Place(Record):
    """What is remembered of one location."""

    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(READS_AT_ONCE))
    store: tuple[object, Store] | None = None
    cursors: dict[str, tuple[str, engine.Cursor]] = field(default_factory=dict)
    catalogues: dict[str, tuple[float, Catalogue]] = field(default_factory=dict)
    looked: tuple[float, str | None] | None = None
    listed: tuple[float, tuple[str, ...]] | None = None
    heads: dict[str, int] = field(default_factory=dict)
    """By vault, how far its log was read for the catalogue that is held."""
    told: dict[str, dict[str, tuple[engine.Point, Point | None]]] = field(default_factory=dict)
    """By vault and id: what the engine said of a point, and what was made of that; the engine gives the same again if nothing is new."""
    failures: int = 0
    closed_until: float = 0.0
    last_error: RecoupError | None = None
    away: bool = False

    def tell(self, vault: str, found: tuple[engine.Point, ...]) -> tuple[Point, ...]:
        """The points as the planners look at them; those of which no time is known are left out."""
        before, after = self.told.get(vault, {}), {}
        for entry in found:
            known = before.get(entry.id)
            after[entry.id] = known if known is not None and known[0] is entry else (entry, to_point(entry))
        self.told[vault] = after
        return tuple(point for _, point in after.values() if point is not None)


class Catalogues:
    """Thread-safe. Seconds by the injected monotonic clock."""

    def __init__(
        self, kube: Kube, *, namespace: str, open_store: OpenStore, redactor: Redactor, metrics: Metrics, clock: Callable[[], float],
        turned: Callable[[str], None] = lambda _name: None, news: Callable[[tuple[Point, ...]], None] = lambda _points: None,
    ) -> None:  # fmt: skip
        """`turned` is told the name of a location that stopped answering, or answers again: its conditions are due.

        `news` is told the points that came, went or changed at a location since its catalogue was last read, at first all of them.
        """
        self._kube, self._namespace, self._open_store = kube, namespace, open_store
        self._redactor, self._metrics, self._clock = redactor, metrics, clock
        self._turned, self._news = turned, news
        self._places: dict[str, _Place] = {}
        self._by_name: dict[str, _Place] = {}
        self._secrets: dict[str, tuple[float, dict[str, str]]] = {}
        self._maintained: dict[str, float] = {}
        self._adopted: set[str] = set()
        self._lock = threading.Lock()

    def has_keys(self, vault: str) -> bool:
        """Whether the keys Job has finished for this vault: the Secret that it writes last is there."""
        try:
            self._secret(catalogue_secret(vault))
        except failures.Gone:
            return False
        return True

    def has_maintenance(self, vault: str) -> bool:
        """Whether the keys Job handed out what forgets and prunes: one of an earlier release did not, and has to run again."""
        known = self._maintained.get(vault)
        if known is not None and self._clock() - known < SECRETS_FOR:
            return True
        try:
            secret = self._kube.get(SECRET, self._namespace, catalogue_secret(vault))
        except failures.Gone:
            return False
        if not has_role(secret, MAINTENANCE):
            return False
        self._maintained[vault] = self._clock()
        return True

    def ticket(self, vault: str, *, policy_uid: str, slot: str, snapshot_uid: str, claim_uid: str) -> Ticket:
        """Leave for one volume's session of one run. Raises KeyUnavailable."""
        catalogue = _engine()
        self._adopted.discard(vault)
        session = catalogue.session_id(snapshot_uid, claim_uid)
        return Ticket(session=session.hex(), ticket=catalogue.sign_ticket(self._keys(vault), policy_uid, slot, claim_uid, session))

    def read(self, location: Object, vault: str, *, max_age: float = 0.0) -> Catalogue:
        """The vault's recovery points up to the head of its log, now or at most `max_age` seconds ago.

        Raises RecoupError with the reason for a condition.
        """
        where = decode(BackupLocation, location)
        known = self._place(where.metadata.uid).catalogues.get(vault)
        if known is not None and self._clock() - known[0] < max_age:
            return known[1]
        return self._guarded(where, lambda place: self._read(place, where, vault))

    def look(self, location: Object, *, max_age: float = 0.0) -> str | None:
        """One request to the location: its id in hex, or None if nothing was ever stored there. Raises as `read`.

        An answer of at most `max_age` seconds ago serves too.
        """
        where = decode(BackupLocation, location)
        place, started = self._place(where.metadata.uid), self._clock()
        if place.looked is not None and started - place.looked[0] < max_age:
            return place.looked[1]
        place.looked = None
        found = self._guarded(where, lambda place: _engine().read_location(self._store(place, where)))
        place.looked = (started, found.hex() if found is not None else None)
        return place.looked[1]

    def list_vaults(self, location: Object, *, max_age: float) -> tuple[str, ...]:
        """Ids of the vaults that the location seems to hold: one listing, of at most `max_age` seconds ago. Raises as `read`."""
        where = decode(BackupLocation, location)
        place, started = self._place(where.metadata.uid), self._clock()
        if place.listed is None or started - place.listed[0] >= max_age:
            found = self._guarded(where, lambda place: _engine().list_vaults(self._store(place, where)))
            place.listed = (started, tuple(vault.hex() for vault in found))
        return place.listed[1]

    def known(self, location: Object, vault: str) -> Catalogue | None:
        """What was last read, of whatever age; asks nobody."""
        found = self._place(location["metadata"]["uid"]).catalogues.get(vault)
        return found[1] if found is not None else None

    def known_at(self, location: str, vault: str) -> Catalogue | None:
        """The same as `known` for the location of this name."""
        place = self._by_name.get(location)
        known = place.catalogues.get(vault) if place is not None else None
        return known[1] if known is not None else None

    def _guarded(self, where: BackupLocation, call: Callable[[_Place], T]) -> T:
        place = self._place(where.metadata.uid)
        if place.last_error is not None and self._clock() < place.closed_until:
            raise place.last_error
        with place.turns:
            try:
                result = call(place)
            except RecoupError as error:
                self._failed(place, where, error)
                raise
        self._metrics.catalogue_reads.labels(where.metadata.name, "ok").inc()
        place.failures, place.last_error = 0, None
        self._note(place, where, away=False)
        return result

    def _note(self, place: _Place, where: BackupLocation, *, away: bool) -> None:
        if place.away != away:
            place.away = away
            self._turned(where.metadata.name)

    def _read(self, place: _Place, where: BackupLocation, vault: str) -> Catalogue:
        started = self._clock()
        keys = self._keys(vault)
        opened_with = f"{keys.identity.fingerprint} {sorted(keys.meta_keys)}"  # a new generation opens what was closed before
        known, cursor = place.cursors.get(vault, ("", None))
        store = self._store(place, where)
        found = _engine().read_catalogue(store, bytes.fromhex(vault), keys, cursor if known == opened_with else None)
        place.cursors[vault] = (opened_with, found.cursor)
        before = place.catalogues.get(vault)
        if before is not None and cursor is found.cursor and place.heads.get(vault, 0) >= found.next_seq:  # another thread may be faster
            place.catalogues[vault] = (max(started, before[0]), before[1])
            return before[1]
        points = place.tell(vault, found.points)
        locked = any(entry.record is None and entry.generation not in keys.meta_keys for entry in found.points)
        catalogue = Catalogue(
            vault=vault,
            fingerprint=found.fingerprint,
            points=points,
            locked=locked,
            forgotten=found.forgotten,
            revision=found.revision,
            garbage=to_garbage(found.garbage),
            verifications=tuple(run for said in found.verifications if (run := to_verification(said)) is not None),
            drills=tuple(drill for said in found.drills if (drill := to_drill(said)) is not None),
        )
        place.catalogues[vault], place.heads[vault] = (started, catalogue), found.next_seq
        self._by_name[where.metadata.name] = place
        self._news(changed_points(before[1] if before is not None else None, catalogue))
        return catalogue

    def _store(self, place: _Place, where: BackupLocation) -> Store:
        s3 = where.spec.s3
        credentials = self._credentials(s3.credentials_secret_ref.name)
        asked = (structs.astuple(s3), credentials)
        if place.store is None or place.store[0] != asked:
            place.store = (asked, self._open_store(s3, credentials))
        return place.store[1]

    def _credentials(self, name: str) -> dict[str, str]:
        try:
            found = self._secret(name)
        except failures.Gone:
            message = f"Secret {self._namespace}/{name} does not exist; create it with credentials that can read the location"
            raise Denied(message, reason="CredentialsNotFound") from None
        for entry in ("accessKeyID", "secretAccessKey"):
            if not found.get(entry):
                raise Denied(f"Secret {self._namespace}/{name} has no entry {entry}", reason="CredentialsIncomplete")
        self._redactor.register(found["secretAccessKey"], found.get("sessionToken", ""))
        return found

    def _keys(self, vault: str) -> engine.CatalogueKeys:
        role: type[engine.CatalogueKeys] = _engine().CatalogueKeys
        name, files = self._find_keys(vault)
        content = files.get(role.file_name(), "")
        self._redactor.register(content)
        return role.from_bytes(content.encode(), f"Secret {self._namespace}/{name}")

    def _find_keys(self, vault: str) -> tuple[str, dict[str, str]]:
        """The Secret of a vault that was made from here, else of one that was made elsewhere; asked first is where it was last time."""
        names = [catalogue_secret(vault), adopted_secret(vault)]
        for name in reversed(names) if vault in self._adopted else names:
            try:
                found = self._secret(name)
            except failures.Gone:
                continue
            if name == adopted_secret(vault):
                self._adopted.add(vault)
            return name, found
        raise KeyUnavailable(f"Secret {self._namespace}/{names[0]} does not exist: vault {vault} has no keys yet")

    def _secret(self, name: str) -> dict[str, str]:
        now = self._clock()
        read_at, entries = self._secrets.get(name, (float("-inf"), {}))
        if now - read_at < SECRETS_FOR:
            return entries
        secret = self._kube.get(SECRET, self._namespace, name)
        entries = {key: base64.b64decode(value).decode("utf-8", "replace").strip() for key, value in (secret.get("data") or {}).items()}
        with self._lock:
            self._secrets[name] = (now, entries)
        return entries

    def _place(self, uid: str) -> _Place:
        with self._lock:
            return self._places.setdefault(uid, _Place())

    def _failed(self, place: _Place, where: BackupLocation, error: RecoupError) -> None:
        self._metrics.catalogue_reads.labels(where.metadata.name, error.reason).inc()
        if isinstance(error, Denied):  # changed credentials are looked for at once
            self._secrets.pop(where.spec.s3.credentials_secret_ref.name, None)
        if isinstance(error, (Denied, Retryable)):
            self._note(place, where, away=True)
        if not isinstance(error, Retryable):
            return
        place.failures += 1
        place.last_error = error
        if place.failures >= OPENS_AFTER:
            place.closed_until = self._clock() + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (place.failures - OPENS_AFTER))


def changed_points(before: Catalogue | None, after: Catalogue) -> tuple[Point, ...]:
    """What came, went, or reads otherwise than before."""
    old, new = before.live if before is not None else {}, after.live
    gone = [point for manifest, point in old.items() if manifest not in new]
    return (*gone, *(point for manifest, point in new.items() if (known := old.get(manifest)) is not point and known != point))


def _engine() -> ModuleType:
    """The engine's catalogue module: imported only once there is a location to read, because it brings cryptography along."""
    from recoup.engine import catalogue  # noqa: PLC0415  # as the docstring says

    build_type_info()
    return catalogue
