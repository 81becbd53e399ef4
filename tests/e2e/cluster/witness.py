"""Everything that a cluster shows in the open while something happens: each version of its objects, every log line, every Event.

What is short-lived counts as much as what stays: objects are watched from the beginning, and a log file once opened can be read to its
end although its pod is gone. Secrets are not watched; what is in them must be nowhere else.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tests.e2e.cluster.product import Product
from tests.e2e.cluster.waiting import wait_until

WATCHED = {
    name: f"/{path}?watch=1"
    for name, path in (
        ("pods", "api/v1/pods"),
        ("events", "apis/events.k8s.io/v1/events"),
        ("jobs", "apis/batch/v1/jobs"),
        ("backuplocations", "apis/recoup.dev/v1alpha1/backuplocations"),
        ("backuppolicies", "apis/recoup.dev/v1alpha1/backuppolicies"),
        ("backupsnapshots", "apis/recoup.dev/v1alpha1/backupsnapshots"),
        ("restorerequests", "apis/recoup.dev/v1alpha1/restorerequests"),
    )
}
LOOK_EVERY = 0.05
"""Seconds between looks for new log files: a mover's stays for seconds, until its Job is deleted."""


@dataclass
class Witness:
    """What was seen, by where. Complete once the context is left."""

    seen: dict[str, bytes] = field(default_factory=dict)

    def look(self, product: Product) -> None:
        """Read every object of every kind as it is now."""
        self.seen |= {f"objects as they were: {kind}": data for kind, data in _all_objects(product).items()}

    def places_of(self, forms: set[bytes]) -> list[str]:
        """Where one of these texts was seen."""
        return [place for place, data in self.seen.items() if any(form in data for form in forms)]


@contextmanager
def watching(product: Product, folder: Path) -> Iterator[Witness]:
    """Watch the whole cluster for the duration."""
    witness, ended = Witness(), threading.Event()
    logs: dict[Path, BinaryIO] = {}
    with ExitStack() as files, ExitStack() as stack:
        files.callback(lambda: [file.close() for file in logs.values()])
        collector = threading.Thread(target=_collect, args=(product.node.folder / "var-log" / "pods", logs, ended), name="witness")
        collector.start()
        stack.callback(collector.join)
        stack.callback(ended.set)
        watches = {name: stack.enter_context(_stream(product, path, folder / name)) for name, path in WATCHED.items()}
        for name in ("pods", "backuplocations"):  # there are some; of the other kinds there may be none yet
            wait_until(f"the watch of {name} sees something", lambda name=name: None if watches[name].stat().st_size else "nothing yet")  # type: ignore[misc]
        yield witness
        stack.close()
        witness.seen |= {f"every version of {name}": path.read_bytes() for name, path in watches.items()}
        witness.seen |= {f"the log {'/'.join(path.parts[-3:])}": file.read() for path, file in logs.items()}


def _collect(folder: Path, logs: dict[Path, BinaryIO], ended: threading.Event) -> None:
    while True:
        last = ended.is_set()
        for pod in [each for each in folder.iterdir() if each.name.startswith("recoup-")]:
            with suppress(FileNotFoundError):  # it went while we looked
                for path in pod.glob("*/*.log"):
                    if path not in logs:
                        logs[path] = path.open("rb")
        if last:
            return
        ended.wait(LOOK_EVERY)


@contextmanager
def _stream(product: Product, path: str, file: Path) -> Iterator[Path]:
    with file.open("wb") as output:
        command = [str(product.cluster.kubectl_path), "--kubeconfig", str(product.cluster.kubeconfig_path), "get", "--raw", path]
        process = subprocess.Popen(command, stdout=output, stdin=subprocess.DEVNULL)
    try:
        yield file
        assert process.poll() is None, f"the watch of {path} ended early"
    finally:
        process.terminate()
        process.wait()


def _all_objects(product: Product) -> dict[str, bytes]:
    kubectl = product.cluster.kubectl  # its warnings do not belong into the answer
    wanted = [kind for kind in kubectl("api-resources", "--verbs=list", "--output=name").split() if kind != "secrets"]
    assert "pods" in wanted
    objects = json.loads(kubectl("get", ",".join(wanted), "--all-namespaces", "--output=json"))["items"]
    by_kind: dict[str, list[object]] = {}
    for each in objects:
        by_kind.setdefault(each["kind"], []).append(each)
    return {kind: json.dumps(each).encode() for kind, each in by_kind.items()}
