"""The Jobs of verifications and drills say what the command line understands: each is carried out with its own arguments.

Only where things are is changed: the bucket is a directory, and what the pod has below /recoup lies in a temporary one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from recoup.api.backuplocation import BackupLocationSpec
from recoup.cli.main import root
from recoup.errors import Integrity, RecoupError
from recoup.plan.actions import Object
from recoup.plan.objects.drill_job import build_drill_job
from recoup.plan.objects.verify_job import build_verify_job
from tests.unit.plan.examples import AROUND, S3, TWO_KEYS, location

RUNNER = CliRunner()
SCRATCH = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}}


def run(*arguments: str, fails: type[RecoupError] | None = None) -> str:
    result = RUNNER.invoke(root, arguments)
    if fails is None and result.exception is not None:
        raise result.exception
    assert fails is None or isinstance(result.exception, fails), result.output
    return result.stdout


def spec(bucket: str) -> BackupLocationSpec:
    return msgspec.convert(location(spec={"s3": {**S3, "bucket": bucket, "prefix": "x"}})["spec"], BackupLocationSpec)


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    """What the pod sees: the key, and a home `near` with a copy `far` of it, with one recovery point."""
    key = tmp_path / "recoup/keys/daily/key"
    key.parent.mkdir(parents=True)
    for folder in ("recoup/credentials", "recoup/other-0/credentials", "source"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "source/file").write_bytes(b"content" * 5000)
    run("keygen", str(key))
    near, far = (f"file://{tmp_path}/{name}" for name in ("near", "far"))
    run("init", "--location", near, "--key-file", str(key))
    run("backup", "--location", near, "--key-file", str(key), "--source", str(tmp_path / "source"))
    run("replicate", "--from", near, "--to", far)
    return tmp_path


def arguments(job: Object, pod: Path) -> list[str]:
    """The container's arguments, for this machine."""
    told: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    moved = []
    for one in told:
        text = one.replace("s3://near/x", f"file://{pod}/near").replace("s3://far/x", f"file://{pod}/far")
        text = text.replace("/recoup/", f"{pod}/recoup/").replace("/dev/termination-log", f"{pod}/report")
        moved.append(f"{pod}/scratch" if text == "/scratch" else text)
    return moved


def vault_of(pod: Path) -> str:
    return next((pod / "near/v").iterdir()).name


def packs(pod: Path, where: str) -> list[Path]:
    return sorted((pod / where).glob("v/*/d/*/*"))


def test_a_verification_heals_by_its_own_arguments(pod: Path) -> None:
    keys = spec("near").encryption.keys
    assert len(keys) == len(TWO_KEYS)
    job = build_verify_job(
        AROUND, spec("near"), [spec("far")], keys,
        name="n", labels={}, vault=vault_of(pod), fingerprint="", level=3, purpose="20261123t030000z", points=(),
    )  # fmt: skip
    lost = packs(pod, "near")
    for path in lost:
        path.unlink()
    said = msgspec.json.decode(run(*arguments(job, pod)))
    assert (said["good"], said["objectsHealed"], said["healing"]) == (True, len(lost), "Tried")
    key = str(pod / "recoup/keys/daily/key")
    [proof] = msgspec.json.decode(run("evidence", "--location", f"file://{pod}/near", "--key-file", key, "-o", "json"))
    assert (proof["statement"]["round"], proof["statement"]["healedObjects"]) == ("20261123t030000z", len(lost))
    assert msgspec.json.decode((pod / "report").read_bytes())["outcome"] == "Succeeded"


def test_what_is_damaged_at_both_places_is_reported_by_point_and_path(pod: Path) -> None:
    job = build_verify_job(
        AROUND, spec("near"), [spec("far")], spec("near").encryption.keys,
        name="n", labels={}, vault=vault_of(pod), fingerprint="", level=1, purpose="p", points=(),
    )  # fmt: skip
    for where in ("near", "far"):
        for path in packs(pod, where):
            path.unlink()
    said = msgspec.json.decode(run(*arguments(job, pod), fails=Integrity))
    [affected] = said["affected"]
    report = msgspec.json.decode((pod / "report").read_bytes())
    assert report["firstPaths"] == [f"{affected['id'][:16]}: file"]


def test_a_drill_restores_by_its_own_arguments(pod: Path) -> None:
    key = str(pod / "recoup/keys/daily/key")
    [point] = msgspec.json.decode(run("snapshots", "--location", f"file://{pod}/near", "--key-file", key, "-o", "json"))
    job = build_drill_job(
        AROUND, spec("far"), spec("near").encryption.keys,
        name="n", labels={}, vault=vault_of(pod), fingerprint="", manifest=point["id"], purpose="p", scratch=SCRATCH,
    )  # fmt: skip
    moved = [*arguments(job, pod), "--trust-new"]
    said = msgspec.json.decode(run(*moved))
    assert said["recorded"]
    assert (pod / "scratch/file").read_bytes() == b"content" * 5000
