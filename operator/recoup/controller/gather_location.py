"""Reads for one BackupLocation: the place itself, its probe Jobs, and the vaults that keys Jobs made in it.

The order matters for the location's id: it is told only when no keys Job of this location is under way and the vaults were listed
after it was read, so that nobody sees the id of a place without the vault that was just made there. A keys Job that has ended is not
under way, however long it stays: nobody removes that of a run whose namespace is gone, and the other vaults must be seen meanwhile.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from recoup.api.backuplocation import BackupLocation, Vault
from recoup.api.labels import MANAGED_BY, MANAGER
from recoup.api.names import adopted_secret, catalogue_secret, label_value
from recoup.api.objects import decode
from recoup.controller import failures
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_snapshot import read_catalogue
from recoup.controller.gather_views import Views
from recoup.controller.handout import REPOSITORY, to_vault
from recoup.controller.kube import Object
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, POD, SECRET
from recoup.errors import RecoupError
from recoup.plan.actions import Plan
from recoup.plan.adoption import Listing, is_adopt_job
from recoup.plan.location import LocationObserved, find_refusal, plan_location
from recoup.plan.location_conditions import Reading
from recoup.plan.movers import is_over
from recoup.plan.objects.identity import COMPONENT, VAULT
from recoup.plan.objects.identity import LOCATION as LOCATION_OF_MOVER
from recoup.plan.pulling import LOOK_EVERY, PulledVault, PullSource, foreign_vaults

LIST_EVERY = 600.0
"""Seconds between two listings of the vaults at a place; in between only their logs are read on."""
JUST_NOW = 15.0
"""Seconds for which one look at the place serves while keys are made in it: their Job wakes its location several times."""


class LocationReconciler:
    """Gather and plan of BackupLocations."""

    def __init__(self, reader: Reader, catalogues: Catalogues, ledger: FailureLedger, views: Views) -> None:
        self._reader, self._catalogues, self._ledger, self._views = reader, catalogues, ledger, views

    def observe(self, obj: Object, now: datetime, *, sure: bool = False) -> LocationObserved:
        reader, uid = self._reader.at_server if sure else self._reader, obj["metadata"]["uid"]
        making = any(_makes_keys(child) for child in reader.children(uid, (JOB, POD)))
        reading = self._look(obj, max_age=JUST_NOW if making else 0.0)
        children = reader.children(uid, (JOB, POD))
        if making or any(_makes_keys(child) for child in children):
            reading = structs.replace(reading, repository_id=None)
        repository = reading.repository_id or (obj.get("status") or {}).get("repositoryId")
        listing, pulls = self._list_vaults(obj), self._observe_pulls(reader, obj, now)
        return LocationObserved(
            location=obj,
            around=reader.around,
            children=children,
            reading=reading,
            vaults=self._vaults(repository, listing, pulls),
            listing=listing,
            views=self._views.observe_all(reader, obj, now),
            pulls=pulls,
            refused_at=self._refused_at(reader, obj, now),
            warnings=reader.warnings_of(children, now),
            failures=self._ledger.of(uid),
        )

    def plan(self, observed: LocationObserved, now: datetime) -> Plan:
        return plan_location(observed, now)

    def with_failures(self, observed: LocationObserved, obj: Object) -> LocationObserved:
        return structs.replace(observed, failures=self._ledger.of(obj["metadata"]["uid"]))

    def _look(self, obj: Object, *, max_age: float) -> Reading:
        try:
            return Reading(repository_id=self._catalogues.look(obj, max_age=max_age))
        except failures.Unavailable:
            raise
        except RecoupError as error:
            return Reading(reason=error.reason, message=str(error))

    def _refused_at(self, reader: Reader, obj: Object, now: datetime) -> datetime | None:
        """By the backup movers that still are there, as far as they are known: the next one that fails tells again."""
        labels = f"{MANAGED_BY}={MANAGER},{LOCATION_OF_MOVER}={label_value(obj['metadata']['name'])}"
        movers = [each for kind in (JOB, POD) for each in reader.kube.list(kind, reader.around.movers_namespace, labels=labels)]
        return find_refusal(movers, now)

    def _list_vaults(self, obj: Object) -> Listing | None:
        location = decode(BackupLocation, obj)
        if not location.spec.lists_vaults:
            return None
        try:
            vaults = self._catalogues.list_vaults(obj, max_age=LIST_EVERY)
        except failures.Unavailable:
            raise
        except RecoupError as error:
            return Listing(reason=error.reason, message=str(error))
        known = ((vault, self._catalogues.known(obj, vault)) for vault in vaults)
        return Listing(vaults=vaults, locked=tuple(vault for vault, catalogue in known if catalogue is not None and catalogue.locked))

    def _observe_pulls(self, reader: Reader, obj: Object, now: datetime) -> tuple[PullSource, ...]:
        return tuple(self._observe_pull(reader, obj, pull.source, now) for pull in decode(BackupLocation, obj).spec.pull)

    def _observe_pull(self, reader: Reader, obj: Object, name: str, now: datetime) -> PullSource:
        source = reader.optional(LOCATION, None, name)
        if source is None:
            return PullSource(name=name)
        location = decode(BackupLocation, source)
        vaults = []
        for vault in foreign_vaults(location, reader.around):
            offered, offered_failure = read_catalogue(self._catalogues, source, vault.id, now, max_age=LOOK_EVERY / 2)
            held, held_failure = read_catalogue(self._catalogues, obj, vault.id, now, max_age=LOOK_EVERY / 2)
            vaults.append(
                PulledVault(vault=vault, offered=offered, offered_failure=offered_failure, held=held, held_failure=held_failure)
            )  # fmt: skip
        return PullSource(name=name, location=location, vaults=tuple(vaults))

    def _vaults(self, repository: str | None, listing: Listing | None, pulls: tuple[PullSource, ...]) -> tuple[Vault, ...]:
        """Those whose catalogue keys are here: made at this very place, or seen here by the listing or a pull, and opened wherever."""
        if repository is None:
            return ()
        seen = set(listing.vaults) if listing is not None else set()
        seen |= {pulled.vault.id for source in pulls for pulled in source.vaults if pulled.held is not None}
        labels = f"{MANAGED_BY}={MANAGER},{VAULT}" if seen else f"{REPOSITORY}={repository}"
        secrets = self._reader.kube.list_metadata(SECRET, self._reader.around.system_namespace, labels=labels)
        found: dict[str, Vault] = {}
        for secret in sorted(secrets, key=lambda secret: str(secret["metadata"]["name"])):  # catalogue-… replaces adopted-…
            metadata = secret["metadata"]
            vault, here = metadata["labels"].get(VAULT, ""), metadata["labels"].get(REPOSITORY) == repository
            own = here and metadata["name"] == catalogue_secret(vault)
            if own or (vault in seen and metadata["name"] in (catalogue_secret(vault), adopted_secret(vault))):
                found[vault] = to_vault(secret, repository)
        return tuple(found.values())


def _makes_keys(child: Object) -> bool:
    """A keys Job that has not ended."""
    is_keys_job = child["kind"] == JOB.kind and not is_adopt_job(child) and child["metadata"]["labels"].get(COMPONENT) == "keys"
    return is_keys_job and not is_over(child)
