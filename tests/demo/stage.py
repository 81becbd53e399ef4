"""What the demo plays on: a local cluster, an S3 server, the product's image, and a `recoup` command.

Made anew at each `up`, so that the demo shows a first day; removed by `down`. All of it lies outside the checkout.
"""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import images, lifecycle, places, programs
from tests.demo.terminal import DemoFailed, Terminal

ROOT = places.CHECKOUT
CLUSTER = "recoup-demo"
BUCKET = "acme-backups"
STATE = places.cache() / "demo"


@dataclass(frozen=True)
class Scene:
    """A running stage. `values` are put into the example manifests in place of their ${NAMES}."""

    terminal: Terminal
    image: str
    credentials: Path
    values: dict[str, str] = field(default_factory=dict)


def kubectl() -> Path:
    return programs.program("kubectl")


def make() -> Scene:
    """Bring everything up; takes well under a minute once programs and images are built."""
    STATE.mkdir(parents=True, exist_ok=True)
    print("Starting an S3 server and a Kubernetes cluster of their own ...", flush=True)
    server = json.loads(s3("start", "minio", "--name", CLUSTER, "--state", str(STATE), "--bucket", BUCKET))
    credentials = STATE / "credentials"
    shutil.rmtree(credentials, ignore_errors=True)
    credentials.mkdir(mode=0o700)
    keys = configparser.ConfigParser()
    keys.read(server["credentialsFile"])
    (credentials / "accessKeyID").write_text(keys["default"]["aws_access_key_id"])
    (credentials / "secretAccessKey").write_text(keys["default"]["aws_secret_access_key"])
    kubeconfig = STATE / "kubeconfig"
    kind = str(ROOT / "tests" / "cluster" / "kind")
    subprocess.run([kind, "create", "cluster", "--name", CLUSTER, "--kubeconfig", str(kubeconfig)], check=True)
    for tag in (images.WORKLOAD, images.PRODUCT):
        lifecycle.load_image(CLUSTER, images.archive(tag))
    terminal = Terminal(kubeconfig, (kubectl().parent, programs.program("helm").parent, Path(sys.executable).parent))
    return Scene(terminal, images.PRODUCT, credentials, {"ENDPOINT": server["endpoint"], "WORKLOAD_IMAGE": images.WORKLOAD})


def remove() -> None:
    """Remove cluster and server; nothing to do where there is none."""
    lifecycle.delete(CLUSTER)
    if STATE.exists():
        s3("stop", "--name", CLUSTER, "--state", str(STATE))
        shutil.rmtree(STATE)


def s3(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.cluster.s3", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        message = f"the S3 server: `{' '.join(command[1:])}` ended with {done.returncode}"
        raise DemoFailed(message)
    return done.stdout
