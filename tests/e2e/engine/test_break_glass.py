"""docs/break-glass.md, line by line, on a machine that has nothing but the bucket, a recovery key file and the wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import product_image
from tests.cluster.places import CHECKOUT
from tests.cluster.s3.buckets import Bucket
from tests.e2e.engine.commands import Recoup, process, run
from tests.unit.engine.backup.volume import fill, picture

PAGE = CHECKOUT / "docs/break-glass.md"
PYTHON = shutil.which(f"python{product_image.PYTHON}") or sys.executable


@dataclass(frozen=True)
class Lost:
    """What is left after the disaster."""

    location: str
    key: Path
    fingerprint: str
    environment: dict[str, str]


def blocks() -> list[str]:
    """The page's shell blocks in their order."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([PYTHON, "-m", "venv", str(folder / "tools")], check=True)
    environment = os.environ | {"PIP_NO_COMPILE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(product_image._wheels())}
    subprocess.run([str(folder / "tools/bin/pip"), "install", "--quiet", "hatchling"], check=True, env=environment)
    build = [str(folder / "tools/bin/hatchling"), "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(build, check=True, capture_output=True, cwd=CHECKOUT)
    return next((folder / "dist").glob("recoup-*.whl"))


def on_a_clean_machine(lost: Lost, wheel: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the page in a new home, with no variable of this process but the path to the system's programs."""
    home = folder / "home"
    home.mkdir()
    values = {"LOCATION": lost.location, "KEY": lost.key, "FINGERPRINT": lost.fingerprint, "WHEEL": wheel, "TARGET": folder / "restored"}
    names, *rest = blocks()
    assert set(re.findall(r"^([A-Z]+)=", names, re.MULTILINE)) == set(values)
    script = "set -eu\n" + "".join(f"{name}='{value}'\n" for name, value in values.items()) + "".join(rest)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "python3").symlink_to(PYTHON)
    environment = {
        "HOME": str(home),
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(product_image._wheels()),
        "PIP_NO_COMPILE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return subprocess.run(
        ["/bin/sh", "-c", script], check=False, capture_output=True, text=True, cwd=home, env=environment | lost.environment
    )


def prepare(tmp_path: Path, location: str, *options: str, hybrid: bool = False, environment: dict[str, str] | None = None) -> Lost:
    """Backups as they were made before: with a daily key and a recovery key. Then the daily key is lost."""
    source, recovery = tmp_path / "source", tmp_path / "recovery.key"
    source.mkdir()
    fill(source, files=30)
    public = run("keygen", "--recovery", *(("--hybrid",) if hybrid else ()), str(recovery)).strip()
    recoup = Recoup(location, tmp_path / "daily.key", options)
    run("keygen", str(recoup.key))
    fingerprint = recoup.json("init", "--recipient", public)["fingerprint"]
    recoup("backup", "--source", source)
    (source / "newer").write_text("the last thing that was written")
    recoup("backup", "--source", source)
    recoup.key.unlink()
    return Lost(location, recovery, fingerprint, environment or {})


def check(lost: Lost, wheel: Path, tmp_path: Path) -> None:
    done = on_a_clean_machine(lost, wheel, tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search(r"^[0-9a-f]{16}  (recipient|hybrid) +1 +yes", done.stdout, re.MULTILINE), done.stdout
    assert picture(tmp_path / "restored") == picture(tmp_path / "source")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_from_a_directory_with_a_hybrid_recovery_key(wheel: Path, tmp_path: Path) -> None:
    check(prepare(tmp_path, f"file://{tmp_path}/location", hybrid=True), wheel, tmp_path)


@pytest.mark.s3
@pytest.mark.timeout(900)
def test_from_a_bucket_with_a_recovery_key(bucket: Bucket, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = bucket.server.credentials.environment() | {"AWS_ENDPOINT_URL_S3": bucket.server.endpoint}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    check(prepare(tmp_path, bucket.url("a/prefix"), environment=environment), wheel, tmp_path)


def test_every_reason_that_the_page_explains_exists() -> None:
    code = "".join(path.read_text() for path in (CHECKOUT / "operator/recoup").rglob("*.py"))
    reasons = re.findall(r"^\| `([A-Za-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(reasons) >= 5
    assert [reason for reason in reasons if f'"{reason}"' not in code] == []


def test_the_key_alone_without_its_fingerprint_is_told_what_is_missing(tmp_path: Path) -> None:
    lost = prepare(tmp_path, f"file://{tmp_path}/location")
    done = process("snapshots", "--location", lost.location, "--key-file", str(lost.key))
    assert done.returncode == 40
    assert "[FingerprintUnknown]" in done.stderr
