"""What somebody has who took over a mover's pod, or the controller: collected from outside, whatever it is.

Of the pod: every file of its mounts but the image, environment, arguments and memory of its processes while they are stopped. Of the
controller: the data of every Secret that its own rights let it read.
"""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes import client

from recoup.controller.kube import load_configuration
from recoup.controller.resources import NAMESPACE, SECRET
from tests.cluster import cgroups
from tests.e2e.cluster.product import CONTROLLER, SYSTEM, Product
from tests.e2e.cluster.waiting import wait_until
from tests.e2e.cluster.world import Object
from tests.e2e.engine.memory import writable_memory

IMAGE = "overlay"
"""The kind of mount that holds the image: the same for everybody, so there is nothing to take."""
KERNEL = ("/proc", "/sys")


@dataclass
class Taken:
    """All that a pod had. `files` by their path in it."""

    files: dict[str, bytes] = field(default_factory=dict)
    environment: list[bytes] = field(default_factory=list)
    arguments: list[bytes] = field(default_factory=list)
    memory: list[bytes] = field(default_factory=list)

    @property
    def everything(self) -> list[bytes]:
        return [*self.files.values(), *self.environment, *self.arguments, *self.memory]


def take_from_pod(product: Product, pod: Object) -> Taken:
    """Stop every process of the pod's container, take what they have, and let them go on."""
    (container,) = (status["containerID"].split("//")[1] for status in pod["status"]["containerStatuses"])
    pids = [pid for pid in cgroups.members(product.cluster.name) if container in Path(f"/proc/{pid}/cgroup").read_text()]
    assert pids, f"no process of container {container}"
    taken = Taken()
    with stopped(pids):
        for pid in pids:
            place = Path(f"/proc/{pid}")
            taken.environment.append((place / "environ").read_bytes())
            taken.arguments.append((place / "cmdline").read_bytes())
            taken.memory += writable_memory(pid)
            taken.files |= dict(_files(place))
    return taken


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            wait_until(f"process {pid} is stopped", lambda pid=pid: None if _state(pid) == "T" else _state(pid))  # type: ignore[misc]
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _files(process: Path) -> Iterator[tuple[str, bytes]]:
    """Every regular file of every mount of the process, by its path there."""
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point, kind = before.split()[4], after.split()[0]
        if kind == IMAGE or point.startswith(KERNEL):
            continue
        top = process / "root" / point.lstrip("/")
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():  # through links too: a Secret's files are links to where they are
                yield str(path.relative_to(process / "root")), path.read_bytes()


def take_from_controller(product: Product) -> dict[str, list[bytes]]:
    """By namespace: the data of every Secret there that the controller may read, by its own rules review, read with its own token."""
    token = product.kubectl("-n", SYSTEM, "create", "token", "recoup-controller").strip()
    configuration = load_configuration(str(product.cluster.kubeconfig_path))
    configuration.api_key = {"authorization": f"Bearer {token}"}
    configuration.refresh_api_key_hook = None  # or it would bring the kubeconfig's token back
    found: dict[str, list[bytes]] = {}
    with client.ApiClient(configuration) as api:
        me = client.AuthenticationV1Api(api).create_self_subject_review(client.V1SelfSubjectReview()).status
        assert me is not None
        assert me.user_info is not None
        assert me.user_info.username == CONTROLLER
        reviews, core = client.AuthorizationV1Api(api), client.CoreV1Api(api)
        for namespace in (each["metadata"]["name"] for each in product.kube.list(NAMESPACE)):
            asked = client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace=namespace))
            rules = reviews.create_self_subject_rules_review(asked).status
            assert rules is not None
            assert not rules.incomplete
            present = [secret["metadata"]["name"] for secret in product.kube.list(SECRET, namespace)]
            for name in sorted(_readable(rules.resource_rules, present)):
                data = core.read_namespaced_secret(name, namespace).data or {}
                found.setdefault(namespace, []).extend(base64.b64decode(value) for value in data.values())
    return found


def _readable(rules: list[client.V1ResourceRule], present: list[str]) -> set[str]:
    """Names of the Secrets that the rules let somebody read."""
    readable: set[str] = set()
    for rule in rules:
        groups, resources, verbs = set(rule.api_groups or ()), set(rule.resources or ()), set(rule.verbs)
        if groups & {"", "*"} and resources & {"secrets", "*"} and verbs & {"get", "list", "watch", "*"}:
            readable |= set(present) & set(rule.resource_names or present)
    return readable
