"""Runs what a user would type, shows it as typed, and shows what came back.

Every command runs with the demo's own kubeconfig and nothing of the caller's. Waiting is done by conditions with a deadline.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DemoFailed(Exception):
    """A step did not come out as promised; the message says which and what was seen."""


@dataclass(frozen=True)
class Terminal:
    """A shell with `kubectl`, `helm` and `recoup` on its PATH and one kubeconfig."""

    kubeconfig: Path
    path: tuple[Path, ...]

    def environment(self) -> dict[str, str]:
        search = os.pathsep.join([*(str(place) for place in self.path), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": search, "KUBECONFIG": str(self.kubeconfig)}

    def run(self, *command: str, stdin: str | None = None, shown: str | None = None, quiet: bool = False) -> str:
        """Show the command, run it, show its output; a failing command ends the demo with what it said."""
        if not quiet:
            print(f"\n$ {shown or shlex.join(command)}", flush=True)
        done = subprocess.run(command, env=self.environment(), input=stdin, capture_output=True, text=True, check=False)
        if not quiet or done.returncode:
            sys.stdout.write(done.stdout)
            sys.stdout.write(done.stderr)
            sys.stdout.flush()
        if done.returncode:
            message = f"`{shown or shlex.join(command)}` ended with {done.returncode}"
            raise DemoFailed(message)
        return done.stdout

    def apply(self, manifest: str, shown: str) -> None:
        self.run("kubectl", "apply", "-f", "-", stdin=manifest, shown=f"kubectl apply -f {shown}")

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object as it is now, or None where it does not exist."""
        scope = ["-n", namespace] if namespace else []
        command = ["kubectl", "get", kind, name, *scope, "-o", "json", "--ignore-not-found"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip():
            return None
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def wait_until(what: str, condition: Callable[[], str | None], seconds: float) -> float:
    """Poll `condition` until it returns None; its text says what is still missing. Returns the seconds it took."""
    started = time.monotonic()
    missing: str | None = "not looked at yet"
    while time.monotonic() - started < seconds:
        missing = condition()
        if missing is None:
            return time.monotonic() - started
        time.sleep(0.5)
    message = f"{what}: after {seconds:.0f} s still: {missing}"
    raise DemoFailed(message)


def condition_missing(found: dict[str, Any] | None, kind: str) -> str | None:
    """Why the object's condition `kind` is not True for its present generation, or None when it is."""
    if found is None:
        return "the object does not exist"
    for condition in found.get("status", {}).get("conditions", ()):
        if condition["type"] == kind:
            if condition["status"] == "True":
                return None
            return f"{kind}={condition['status']} {condition['reason']}: {condition['message']}"
    return f"no condition {kind} yet"
