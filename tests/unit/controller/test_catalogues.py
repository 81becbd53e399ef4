from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from recoup.api.backuplocation import S3
from recoup.controller.catalogues import FIRST_PAUSE, OPENS_AFTER, SECRETS_FOR, Catalogues, changed_points
from recoup.controller.logs import MASK, Redactor
from recoup.controller.metrics import Metrics
from recoup.controller.points import to_point
from recoup.controller.resources import SECRET
from recoup.engine import catalogue as engine
from recoup.engine.adopt import adopt_vault
from recoup.engine.keys.kek import SecretKek
from recoup.engine.stores.file import FileStore
from recoup.engine.vault import Provisioned, provision
from recoup.errors import Denied, Integrity, KeyUnavailable, NotFound, Retryable
from recoup.plan.observed import Catalogue, Point
from tests.fakes.memory_kube import MemoryKube
from tests.unit.controller.clock import Clock
from tests.unit.plan.examples import CREATED

VAULT = "ab" * 16
LOCATION = {
    "apiVersion": "recoup.dev/v1alpha1",
    "kind": "BackupLocation",
    "metadata": {"name": "frankfurt", "uid": "l1"},
    "spec": {
        "s3": {"bucket": "acme", "credentialsSecretRef": {"name": "frankfurt-s3"}},
        "encryption": {"keys": [{"name": "k", "secret": {"secretRef": {"name": "recoup-key"}}}]},
    },
}


class Place:
    """A location in a directory, its vault, and the Secrets that the keys Job leaves."""

    def __init__(self, directory: Path) -> None:
        self.clock, self.kube, self.redactor = Clock(), MemoryKube(), Redactor()
        directory.mkdir()
        self.store = FileStore(str(directory))
        self.opened: list[dict[str, str]] = []
        self.fault: Exception | None = None
        self.turned: list[str] = []
        self.kek = SecretKek.generate()
        self.catalogues = Catalogues(
            self.kube, namespace="recoup-system", open_store=self.open, redactor=self.redactor, metrics=Metrics(), clock=self.clock,
            turned=self.turned.append,
        )  # fmt: skip

    def open(self, _s3: S3, credentials: dict[str, str]) -> FileStore:
        self.opened.append(credentials)
        if self.fault:
            raise self.fault
        return self.store

    def count_reads(self) -> list[str]:
        """The names of all objects that are asked for from now on."""
        asked: list[str] = []
        get = self.store.get
        self.store.get = lambda name, *more: asked.append(name) or get(name, *more)  # type: ignore[func-returns-value,method-assign]  # a count
        return asked

    def secret(self, name: str, **entries: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}
        self.kube.put(SECRET, {"metadata": {"name": name, "namespace": "recoup-system"}, "data": data})

    def provision(self) -> Provisioned:
        made = provision(self.store, [self.kek], [], vault_id=bytes.fromhex(VAULT), labels={"namespace": "shop"})
        files = {name: content.decode() for name, content in made.catalogue.to_files().items()}
        self.secret(f"catalogue-{VAULT}", **files)
        self.secret("frankfurt-s3", accessKeyID="AKIA", secretAccessKey="canary-secret-key")
        return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store")


def test_a_vault_is_ready_when_the_secret_that_is_written_last_is_there(place: Place) -> None:
    assert not place.catalogues.has_keys(VAULT)
    made = place.provision()
    assert place.catalogues.has_keys(VAULT)
    catalogue = place.catalogues.read(LOCATION, VAULT)
    assert (catalogue.vault, catalogue.fingerprint, catalogue.points) == (VAULT, made.fingerprint, ())


def test_the_place_itself_is_looked_at_with_one_request(place: Place) -> None:
    place.secret("frankfurt-s3", accessKeyID="AKIA", secretAccessKey="canary-secret-key")
    assert place.catalogues.look(LOCATION) is None
    made = place.provision()
    assert place.catalogues.look(LOCATION, max_age=60.0) is None, "an answer of a moment ago serves where that is enough"
    assert place.catalogues.look(LOCATION) == made.catalogue.identity.repo_id.hex()


def test_a_ticket_is_for_one_session_and_is_signed_by_the_vaults_run_key(place: Place) -> None:
    place.provision()
    ticket = place.catalogues.ticket(VAULT, policy_uid="p", slot="2026-11-23T04:15:00Z", snapshot_uid="s", claim_uid="c")
    assert ticket.session == engine.session_id("s", "c").hex()
    other = place.catalogues.ticket(VAULT, policy_uid="p", slot="2026-11-23T04:15:00Z", snapshot_uid="s", claim_uid="d")
    assert ticket.session != other.session
    assert ticket.ticket != other.ticket


@pytest.mark.parametrize(
    ("entries", "reason"),
    [(None, "CredentialsNotFound"), ({"accessKeyID": "x"}, "CredentialsIncomplete"), ({"secretAccessKey": "x"}, "CredentialsIncomplete")],
)
def test_missing_credentials_say_which_secret(place: Place, entries: dict[str, str] | None, reason: str) -> None:
    if entries is not None:
        place.secret("frankfurt-s3", **entries)
    with pytest.raises(Denied, match="Secret recoup-system/frankfurt-s3") as raised:
        place.catalogues.look(LOCATION)
    assert raised.value.reason == reason


def test_a_vault_without_keys_says_so(place: Place) -> None:
    with pytest.raises(KeyUnavailable, match=f"catalogue-{VAULT}"):
        place.catalogues.read(LOCATION, VAULT)


def test_what_it_read_from_secrets_is_masked_in_logs(place: Place) -> None:
    place.provision()
    place.catalogues.read(LOCATION, VAULT)
    assert place.redactor("the key canary-secret-key leaks") == f"the key {MASK} leaks"
    content = base64.b64decode(place.kube.get(SECRET, "recoup-system", f"catalogue-{VAULT}")["data"]["catalogue.json"]).decode()
    assert place.redactor(f"x{content}y") == f"x{MASK}y"


def test_changed_credentials_are_used_after_a_minute_or_at_once_after_a_refusal(place: Place) -> None:
    place.provision()
    place.catalogues.look(LOCATION)
    place.secret("frankfurt-s3", accessKeyID="NEW", secretAccessKey="canary-secret-key")
    place.catalogues.look(LOCATION)
    assert [given["accessKeyID"] for given in place.opened] == ["AKIA"]
    place.clock.advance(SECRETS_FOR)
    place.catalogues.look(LOCATION)
    assert [given["accessKeyID"] for given in place.opened] == ["AKIA", "NEW"]
    place.secret("frankfurt-s3", accessKeyID="NEWER", secretAccessKey="canary-secret-key")
    place.catalogues._failed(place.catalogues._place("l1"), _decoded(), Denied("no"))
    place.catalogues.look(LOCATION)
    assert place.opened[-1]["accessKeyID"] == "NEWER"


def _decoded() -> Any:
    from recoup.api.backuplocation import BackupLocation
    from recoup.api.objects import decode

    return decode(BackupLocation, LOCATION)


def test_a_place_that_keeps_failing_is_left_alone_for_a_while(place: Place) -> None:
    place.secret("frankfurt-s3", accessKeyID="AKIA", secretAccessKey="canary-secret-key")
    place.fault = Retryable("connection refused")
    for _ in range(OPENS_AFTER + 5):
        with pytest.raises(Retryable, match="connection refused"):
            place.catalogues.look(LOCATION)
    assert len(place.opened) == OPENS_AFTER
    place.fault = None
    place.clock.advance(FIRST_PAUSE)
    assert place.catalogues.look(LOCATION) is None
    assert place.catalogues.look(LOCATION) is None


def test_who_keeps_the_locations_conditions_is_told_once_when_it_goes_away_and_once_when_it_is_back(place: Place) -> None:
    place.secret("frankfurt-s3", accessKeyID="AKIA", secretAccessKey="canary-secret-key")
    place.fault = Retryable("away")
    for _ in range(2):
        with pytest.raises(Retryable):
            place.catalogues.look(LOCATION)
    assert place.turned == ["frankfurt"]
    place.fault = None
    for _ in range(2):
        place.catalogues.look(LOCATION)
    assert place.turned == ["frankfurt", "frankfurt"]


def test_a_recent_answer_serves_again_only_where_it_was_asked_for(place: Place) -> None:
    place.provision()
    asked = place.count_reads()
    place.catalogues.read(LOCATION, VAULT)
    for age, clock, more in ((60, 0, 0), (0, 0, 1), (60, 0, 0), (60, 61, 1)):
        place.clock.advance(clock)
        before = len(asked)
        place.catalogues.read(LOCATION, VAULT, max_age=age)
        assert len(asked) - before == more, "one request, and nothing else, where nothing is new"


def test_what_did_not_change_is_not_converted_again(place: Place) -> None:
    place.provision()
    assert place.catalogues.read(LOCATION, VAULT) is place.catalogues.read(LOCATION, VAULT)
    assert place.catalogues.known(LOCATION, VAULT) is place.catalogues.read(LOCATION, VAULT)


def test_vaults_are_listed_once_in_a_while(place: Place) -> None:
    place.secret("frankfurt-s3", accessKeyID="AKIA", secretAccessKey="canary-secret-key")
    assert place.catalogues.list_vaults(LOCATION, max_age=600) == ()
    place.provision()
    assert place.catalogues.list_vaults(LOCATION, max_age=600) == ()
    place.clock.advance(600)
    assert place.catalogues.list_vaults(LOCATION, max_age=600) == (VAULT,)


def test_an_adopted_vault_is_listed_with_its_own_secret_and_is_not_ready_for_backups(place: Place) -> None:
    made = place.provision()
    adopted = adopt_vault(place.store, bytes.fromhex(VAULT), [place.kek])
    assert (adopted.fingerprint, adopted.labels) == (made.fingerprint, {"namespace": "shop"})
    place.kube.delete(
        SECRET, "recoup-system", f"catalogue-{VAULT}", uid=place.kube.get(SECRET, "recoup-system", f"catalogue-{VAULT}")["metadata"]["uid"]
    )
    place.secret(f"adopted-{VAULT}", **{name: content.decode() for name, content in adopted.catalogue.to_files().items()})
    assert place.catalogues.read(LOCATION, VAULT).fingerprint == made.fingerprint
    assert not place.catalogues.has_keys(VAULT), "a backup takes the writer's keys, too"
    with pytest.raises(KeyUnavailable):
        place.catalogues.ticket(VAULT, policy_uid="p", slot="2026-11-23T04:15:00Z", snapshot_uid="s", claim_uid="c")


def test_adopting_takes_a_key_that_proves_the_origin_and_the_root_key_that_is_pinned(place: Place) -> None:
    place.provision()
    vault = bytes.fromhex(VAULT)
    with pytest.raises(KeyUnavailable):
        adopt_vault(place.store, vault, [SecretKek.generate()])
    with pytest.raises(Integrity, match="root key"):
        adopt_vault(place.store, vault, [place.kek], pinned_root=b"x" * 32)
    with pytest.raises(NotFound):
        adopt_vault(place.store, b"y" * 16, [place.kek])


def test_what_was_read_is_known_by_the_locations_name_without_asking_anybody(place: Place) -> None:
    assert place.catalogues.known_at("frankfurt", VAULT) is None
    place.provision()
    read = place.catalogues.read(LOCATION, VAULT)
    assert place.catalogues.known_at("frankfurt", VAULT) is read
    assert place.catalogues.known_at("oregon", VAULT) is None


def test_news_are_the_points_that_came_went_or_changed() -> None:
    same, pinned, gone, new = (Point(id=name, session="", manifest=name, taken_at=CREATED) for name in ("same", "pinned", "gone", "new"))
    before = Catalogue(vault=VAULT, points=(same, pinned, gone))
    after = Catalogue(vault=VAULT, points=(same, structs.replace(pinned, revision="pin"), new))
    assert {point.manifest for point in changed_points(before, after)} == {"pinned", "gone", "new"}
    assert {point.manifest for point in changed_points(None, after)} == {"same", "pinned", "new"}
    assert changed_points(after, after) == ()


def entry(slot: str, record: engine.PointRecord | None) -> engine.Point:
    return engine.Point("cd" * 32, "ef" * 16, 3, 1, "policy-uid", slot, "claim-uid", record)


def record(source: str) -> engine.PointRecord:
    return engine.PointRecord(
        point="snapshot-uid", snapshot="run", policy="shop", consistency="CrashConsistent", volumes_expected=("claim-uid",),
        source=source, kind="directory",
        started=1_000, finished=61_000, files=5, bytes_total=9, bytes_read=8, bytes_stored=7, errors=1, tool="recoup 0.1.0",
    )  # fmt: skip


def test_whose_point_it_is_says_the_ticket_and_never_the_movers_own_record() -> None:
    lie = '{"namespace": "shop", "persistentVolumeClaim": "data", "persistentVolumeClaimUid": "somebody-elses", "clusterUid": "c"}'
    point = to_point(entry("2026-11-23T04:15:00Z", record(lie)))
    assert point is not None
    assert point.source.persistent_volume_claim_uid == "claim-uid"
    assert (point.source.persistent_volume_claim, point.policy_uid) == ("data", "policy-uid")
    assert point.taken_at == datetime(2026, 11, 23, 4, 15, tzinfo=UTC)
    assert (point.duration, point.errors, point.snapshot_uid) == (60.0, 1, "snapshot-uid")


@pytest.mark.parametrize("source", ["", "no json", "[1]", '{"size": 5}'])
def test_a_source_that_is_nonsense_is_left_out(source: str) -> None:
    point = to_point(entry("", record(source)))
    assert point is not None
    assert point.source.namespace == ""
    assert point.taken_at == datetime.fromtimestamp(61, UTC)


def test_a_record_that_does_not_open_still_counts_for_its_session() -> None:
    point = to_point(entry("2026-11-23T04:15:00Z", None))
    assert point is not None
    assert (point.session, point.policy_uid, point.bytes_read) == ("ef" * 16, "policy-uid", 0)
    assert to_point(entry("", None)) is None
