"""Keys and credentials are in Secrets and nowhere else: no argument, variable, log, Event or status shows one, also when runs fail."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from recoup.controller.resources import RESTORE, SECRET, SNAPSHOT
from tests.cluster.s3.credentials import Credentials, fresh
from tests.cluster.s3.rights import restricted_credentials
from tests.e2e.cluster.locations import MOVERS, SYSTEM, Place, recoup, secret
from tests.e2e.cluster.product import Product
from tests.e2e.cluster.witness import Witness, watching
from tests.e2e.cluster.world import Team
from tools.bucket_policies import MOVERS as MOVER_ROLES
from tools.bucket_policies import policy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAME = "hygiene"
ROLE_SECRETS = ("root_key", "writer_private", "run_private")


def test_keys_and_credentials_are_seen_nowhere_but_in_secrets(product: Product, tmp_path: Path) -> None:
    bucket, prefix = product.place.bucket, f"e2e/{NAME}"
    movers, controller = (
        restricted_credentials(product.server, policy(roles, bucket.name, prefix, conditional=False))
        for roles in (MOVER_ROLES, "catalogue")
    )
    secrets = {"the movers' secret key": movers.secret_key, "the controller's secret key": controller.secret_key}
    with (
        watching(product, tmp_path) as witness,
        product.make_place(NAME, credentials=movers) as place,
        product.team(NAME) as team,
    ):
        give_credentials(product, place, SYSTEM, controller)
        place.wait_ready()
        secrets["the key"] = _key_of(place.key)
        secrets["the recovery key"] = _key_of(place.recovery)
        run_well(team)
        secrets |= run_badly(product, place, team)
        vault = team.get(SNAPSHOT, "good")["status"]["vault"]
        raw = role_secrets(product, vault)
        hidden = {name: forms_of(text.encode()) | halves(text) for name, text in secrets.items()}
        hidden |= {name: forms_of(value) for name, value in raw.items()}
        check_that_secrets_hold_them(product, hidden)
        witness.look(product)
    check_that_all_was_seen(witness, vault, team)
    shown = {name: witness.places_of(forms) for name, forms in hidden.items()}
    assert {name: places for name, places in shown.items() if places} == {}


def run_well(team: Team) -> None:
    team.claim("data")
    team.policy(location=NAME)
    team.run("write", "echo kept > /data/file", data="/data")
    team.snapshot("good")
    team.wait_ready(SNAPSHOT, "good")
    team.restore("good", {"snapshotRef": {"name": "good"}}, data="copy")
    team.wait_ready(RESTORE, "good")


def run_badly(product: Product, place: Place, team: Team) -> dict[str, str]:
    """Restores with another key, and with a mistyped one; a backup with wrong credentials. Returns the secrets of these."""
    other = product.folder / f"{NAME}-other.key"
    recoup("keygen", str(other))
    right = _key_of(place.key)
    mistyped = right[:-1] + ("a" if right[-1] != "a" else "b")
    for name, text in (("other", other.read_text()), ("mistyped", mistyped)):
        _replace(product, MOVERS, place.key_secret, key=text)
        team.restore(name, {"snapshotRef": {"name": "good"}}, data=f"copy-{name}")
        refused = team.wait_over(RESTORE, name)
        ready = next(condition for condition in refused["status"]["conditions"] if condition["type"] == "Ready")
        assert ready["status"] == "False", ready
    wrong = fresh()
    give_credentials(product, place, MOVERS, wrong)
    team.snapshot("bad")
    team.wait_over(SNAPSHOT, "bad")
    assert team.volume("bad", "data")["reason"] == "CredentialsRejected"
    return {"another key": _key_of(other), "the mistyped key": mistyped, "a wrong secret key": wrong.secret_key}


def role_secrets(product: Product, vault: str) -> dict[str, bytes]:
    """The secret parts of what the keys Job handed out, as raw bytes."""
    found: dict[str, bytes] = {}
    for namespace, name in ((MOVERS, f"writer-{vault}"), (SYSTEM, f"catalogue-{vault}")):
        for text in product.kube.get(SECRET, namespace, name)["data"].values():
            fields: dict[str, Any] = json.loads(base64.b64decode(text))
            found |= {f"{name}: {field}": base64.b64decode(fields[field]) for field in ROLE_SECRETS if field in fields}
            found |= {f"{name}: meta key {key}": base64.b64decode(value) for key, value in fields.get("meta_keys", {}).items()}
    assert len(found) == 4, sorted(found)
    return found


def forms_of(value: bytes) -> set[bytes]:
    """How bytes look where they are printed: as they are, in hex, base64 with and without its end, and as Python shows them."""
    encoded = {base64.b64encode(value), base64.urlsafe_b64encode(value)}
    return {value, value.hex().encode(), repr(value)[2:-1].encode(), *encoded, *(text.rstrip(b"=")[:-1] for text in encoded)}


def halves(text: str) -> set[bytes]:
    """A part of a text is too much as well."""
    middle = len(text) // 2
    return {text[:middle].encode(), text[middle:].encode()}


def check_that_secrets_hold_them(product: Product, hidden: dict[str, set[bytes]]) -> None:
    """The search would find them: it does where they belong. What was replaced meanwhile and what is kept offline is not there."""
    held = json.dumps(product.kube.list(SECRET)).encode()
    held += b"".join(base64.b64decode(value) for each in product.kube.list(SECRET) for value in (each.get("data") or {}).values())
    found = {name for name, forms in hidden.items() if any(form in held for form in forms)}
    gone = {"the movers' secret key", "the key", "the recovery key", "another key"}
    assert set(hidden) - gone <= found


def check_that_all_was_seen(witness: Witness, vault: str, team: Team) -> None:
    """Every kind of mover and the controller left a log that was read, and the failures were seen."""
    logs = [place for place in witness.seen if place.startswith("the log ")]
    assert [place for place in logs if "recoup-system_recoup-controller" in place]
    for what in (b"Succeeded", vault.encode(), team.name.encode()):
        assert witness.places_of({what})
    assert {f"objects as they were: {kind}" for kind in ("BackupSnapshot", "RestoreRequest", "BackupLocation", "Event")} <= set(
        witness.seen
    )
    for kind in ("pods", "jobs", "events", "backupsnapshots", "restorerequests"):
        assert f"every version of {kind}" in witness.places_of({team.name.encode(), NAME.encode()})
    jobs = [json.loads(line)["object"]["metadata"] for line in witness.seen["every version of jobs"].splitlines()]
    ours = {
        job["name"]
        for job in jobs
        if job["namespace"] == MOVERS and (job["name"].startswith(NAME) or job["labels"].get("recoup.dev/owner-namespace") == team.name)
    }
    assert len(ours) >= 6, "probe, keys, two backups, three restores"
    for name in ours:
        assert [place for place in logs if f"recoup-movers_{name}" in place], f"no log of {name}: {logs}"


def give_credentials(product: Product, place: Place, namespace: str, keys: Credentials) -> None:
    _replace(product, namespace, f"s3-{place.name}", accessKeyID=keys.access_key, secretAccessKey=keys.secret_key)


def _replace(product: Product, namespace: str, name: str, **data: str) -> None:
    product.kube.delete(SECRET, namespace, name, uid=product.kube.get(SECRET, namespace, name)["metadata"]["uid"])
    secret(product.kube, namespace, name, **data)


def _key_of(file: Path) -> str:
    """The key's text without the comments around it."""
    return next(line for line in file.read_text().splitlines() if line.startswith(("recoupsecret1", "recoupprivate1")))
