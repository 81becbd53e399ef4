"""`recoup keys-job` against a real API server: what it leaves, that it can run again, and what its account can't do."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from recoup.api.backuplocation import Vault
from recoup.controller import failures
from recoup.controller.handout import MAINTENANCE, REPOSITORY, has_role, to_vault
from recoup.controller.kube import ApiServer
from recoup.controller.resources import SECRET
from recoup.engine.catalogue import CatalogueKeys, read_catalogue
from recoup.engine.keys.kek import RecipientKek, SecretKek
from recoup.engine.keys.keyfile import create_key_file
from recoup.engine.keys.roles import MaintenanceKeys, WriterKeys
from recoup.engine.maintenance.opened import open_maintained
from recoup.engine.stores.file import FileStore
from tests.integration.controller.conftest import ControlPlane
from tests.integration.controller.process import install

_numbers = count(1)
ROLES = ("writer", "maintenance", "catalogue")


class Run:
    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self.kube: ApiServer = plane.kube()
        install(self.kube, "recoup-system", "recoup-movers")
        self.vault = f"{os.getpid():08x}{next(_numbers):024x}"
        self.plane, self.directory = plane, directory
        self.key = directory / "key"
        create_key_file(self.key, SecretKek.generate())
        (directory / "store").mkdir()

    def __call__(self, *more: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "recoup.cli.main", "keys-job", "--location", f"file://{self.directory}/store",
            "--key-file", str(key or self.key), "--vault", self.vault, "--namespace", "shop", "--namespace-uid", "n1",
            "--writer-namespace", "recoup-movers", "--catalogue-namespace", "recoup-system", "--report",
            str(self.directory / "report"), *more,
        ]  # fmt: skip
        environment = {"KUBECONFIG": str(self.plane.kubeconfig), "PATH": os.environ["PATH"], "HOME": str(self.directory)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def adopt(self, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable, "-m", "recoup.cli.main", "adopt-job", "--location", f"file://{self.directory}/store",
            "--key-file", str(self.key), "--vault", self.vault, "--catalogue-namespace", "recoup-system",
            "--report", str(self.directory / "report"), *more,
        ]  # fmt: skip
        environment = {"KUBECONFIG": str(self.plane.kubeconfig), "PATH": os.environ["PATH"], "HOME": str(self.directory)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def secret(self, role: str) -> dict[str, Any]:
        return self.kube.get(SECRET, "recoup-system" if role in ("catalogue", "adopted") else "recoup-movers", f"{role}-{self.vault}")

    def report(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads((self.directory / "report").read_text())
        return decoded


@pytest.fixture
def run(control_plane: ControlPlane, tmp_path: Path) -> Run:
    return Run(control_plane, tmp_path)


def content(secret: dict[str, Any]) -> bytes:
    (only,) = secret["data"].values()
    return base64.b64decode(only)


def test_each_role_gets_its_part_and_the_vault_is_known_by_its_secret(run: Run) -> None:
    recipient = RecipientKek.generate().recipient.to_text()
    done = run("--recipient", recipient)
    assert done.returncode == 0, done.stderr
    writer = WriterKeys.from_bytes(content(run.secret("writer")), "writer")
    catalogue = CatalogueKeys.from_bytes(content(run.secret("catalogue")), "catalogue")
    maintenance = MaintenanceKeys.from_bytes(content(run.secret("maintenance")), "maintenance")
    assert writer.identity == catalogue.identity == maintenance.identity
    assert open_maintained(FileStore(f"{run.directory}/store"), maintenance).log.state.at_home
    assert has_role(run.secret("catalogue"), MAINTENANCE)
    assert read_catalogue(FileStore(f"{run.directory}/store"), bytes.fromhex(run.vault), catalogue).points == ()
    fingerprint = catalogue.identity.fingerprint
    assert to_vault(run.secret("catalogue")) == Vault(id=run.vault, namespace="shop", namespace_uid="n1", fingerprint=fingerprint)
    listed = run.kube.list_metadata(SECRET, "recoup-system", labels=f"{REPOSITORY}={catalogue.identity.repo_id.hex()}")
    assert [secret["metadata"]["name"] for secret in listed] == [f"catalogue-{run.vault}"]
    assert (run.report()["outcome"], run.report()["id"]) == ("Succeeded", fingerprint)
    for role in ("writer", "maintenance"):
        (owner,) = run.secret(role)["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Namespace", "shop", "n1")
    assert "ownerReferences" not in run.secret("catalogue")["metadata"], "it is needed to restore what a namespace that is gone had"


def test_running_again_changes_nothing_and_brings_back_what_was_lost(run: Run) -> None:
    assert run().returncode == 0
    first = {role: run.secret(role) for role in ROLES}
    assert run().returncode == 0
    assert {role: content(run.secret(role)) for role in first} == {role: content(secret) for role, secret in first.items()}
    assert {role: run.secret(role)["metadata"]["resourceVersion"] for role in first} == {
        role: secret["metadata"]["resourceVersion"] for role, secret in first.items()
    }
    run.kube.delete(SECRET, "recoup-movers", f"writer-{run.vault}", uid=first["writer"]["metadata"]["uid"])
    assert run().returncode == 0
    assert content(run.secret("writer")) == content(first["writer"])


def test_another_cluster_gets_what_lists_the_points_and_nothing_more_and_nothing_is_written(run: Run) -> None:
    assert run("--cluster-uid", "c1").returncode == 0
    for role, place in (("writer", "recoup-movers"), ("catalogue", "recoup-system")):
        run.kube.delete(SECRET, place, f"{role}-{run.vault}", uid=run.secret(role)["metadata"]["uid"])
    store = run.directory / "store"
    before = sorted((str(path), path.stat().st_mtime_ns) for path in store.rglob("*"))
    done = run.adopt()
    assert done.returncode == 0, done.stderr
    assert sorted((str(path), path.stat().st_mtime_ns) for path in store.rglob("*")) == before
    secret = run.secret("adopted")
    keys = CatalogueKeys.from_bytes(content(secret), "adopted")
    assert read_catalogue(FileStore(str(store)), bytes.fromhex(run.vault), keys).points == ()
    assert keys.run_private == b""
    fingerprint = keys.identity.fingerprint
    known = Vault(id=run.vault, namespace="shop", namespace_uid="n1", cluster="c1", fingerprint=fingerprint)
    assert to_vault(secret, keys.identity.repo_id.hex()) == known
    assert to_vault(secret, "another place").replica
    for role in ("writer", "catalogue"):
        with pytest.raises(failures.Gone):
            run.secret(role)
    assert run.adopt("--fingerprint", fingerprint).returncode == 0


def test_one_vault_that_can_not_be_opened_keeps_no_other_from_being_handed_out(run: Run) -> None:
    assert run().returncode == 0
    done = run.adopt("--vault", "e" * 32)
    assert (done.returncode, run.report()["reason"]) == (20, "NoVault")
    assert "1 of 2 vaults can't be opened" in run.report()["message"]
    assert run.secret("adopted")


@pytest.mark.parametrize(
    ("make", "code", "reason"),
    [
        (lambda path: create_key_file(path, SecretKek.generate()), 40, "KeyUnavailable"),
        (lambda path: path.write_text("nonsense\n"), 20, "InvalidKey"),
        (lambda _path: None, 40, "KeyUnavailable"),
    ],
    ids=["another key", "no key", "missing file"],
)
def test_a_wrong_key_is_said_and_hands_out_nothing(run: Run, make: Any, code: int, reason: str) -> None:
    assert run().returncode == 0
    for role in ROLES:
        secret = run.secret(role)
        run.kube.delete(SECRET, secret["metadata"]["namespace"], secret["metadata"]["name"], uid=secret["metadata"]["uid"])
    other = run.directory / "other"
    make(other)
    done = run(key=other)
    assert (done.returncode, run.report()["outcome"], run.report()["reason"]) == (code, "Failed", reason)
    for role in ROLES:
        with pytest.raises(failures.Gone):
            run.secret(role)


def test_no_key_shows_in_output_or_report(run: Run) -> None:
    done = run()
    secret = next(line for line in run.key.read_text().splitlines() if line.startswith("recoupsecret1"))
    keys = [content(run.secret(role)).decode() for role in ROLES]
    everything = done.stdout + done.stderr + (run.directory / "report").read_text()
    assert secret not in everything
    for part in keys:
        assert part not in everything
    assert json.loads(keys[0])["root_key"] not in everything
    assert json.loads(keys[1])["maintenance_private"] not in everything
