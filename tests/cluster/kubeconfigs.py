"""Merge a cluster's access into a kubeconfig file a person or pytest-kind named, and take it out again."""

import os
import subprocess
from pathlib import Path

from tests.cluster.programs import program


def default() -> Path | None:
    """The first file of $KUBECONFIG. Without it nothing of the user's is touched: each cluster has a file of its own."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else None


def merge(own: Path, target: Path) -> None:
    """Add the cluster's context to `target`, make it the current one, keep what else is there. Mode 0600."""
    others = [target] if target.exists() and target.read_text().strip() else []
    merged = _kubectl("config", "view", "--flatten", "--raw", files=[own, *others])
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    aside.touch(mode=0o600)
    aside.write_text(merged)
    aside.rename(target)


def clean(cluster: str, target: Path) -> None:
    """Take the cluster's context out of `target`; other entries stay."""
    if not target.read_text().strip():
        return
    name = f"kind-{cluster}"
    entries = [f"contexts.{name}", f"clusters.{name}", f"users.{name}"]
    if _kubectl("config", "view", "--output=jsonpath={.current-context}", files=[target]).strip() == name:
        entries.append("current-context")
    for entry in entries:
        _kubectl("config", "unset", entry, files=[target])


def _kubectl(*arguments: str, files: list[Path]) -> str:
    environment = {**os.environ, "KUBECONFIG": os.pathsep.join(map(str, files))}
    return subprocess.run([str(program("kubectl")), *arguments], env=environment, text=True, capture_output=True, check=True).stdout
