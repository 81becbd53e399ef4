"""The story of the demo, step by step: protect a volume, lose its whole namespace, bring it back, prove that it is the same.

Each step is the command that a user would type, with its output. The manifests are those of docs/examples, so what the
documentation shows is what runs here.
"""

from __future__ import annotations

import difflib
import string
import subprocess
import tempfile
from pathlib import Path

from tests.demo.stage import ROOT, Scene
from tests.demo.terminal import DemoFailed, condition_missing, wait_until

EXAMPLES = ROOT / "docs" / "examples"
FINGERPRINT = ROOT / "tests" / "demo" / "fingerprint.py"


def heading(text: str) -> None:
    print(f"\n== {text}", flush=True)


def play(scene: Scene) -> None:
    """All steps in order; raises DemoFailed at the first that does not come out as promised."""
    install(scene)
    add_location(scene)
    start_workload(scene)
    protect(scene)
    before, journal = remember(scene)
    lose_the_namespace(scene)
    restore(scene)
    compare(scene, before, journal)


def example(scene: Scene, name: str) -> str:
    """A manifest of docs/examples with the demo's own values in it."""
    text = (EXAMPLES / name).read_text()
    return string.Template(text).safe_substitute(scene.values)


def install(scene: Scene) -> None:
    heading("Install the chart, two controller replicas")
    scene.terminal.run(
        *("helm", "install", "recoup", str(ROOT / "charts" / "recoup"), "--namespace", "recoup-system", "--create-namespace"),
        *("--set", f"image.repository={scene.image.rpartition(':')[0]}", "--set", f"image.tag={scene.image.rpartition(':')[2]}"),
        *("--set", "image.pullPolicy=IfNotPresent"),
        shown="helm install recoup charts/recoup --namespace recoup-system --create-namespace",
    )
    scene.terminal.run("kubectl", "-n", "recoup-system", "rollout", "status", "deployment", "--timeout=180s")


def add_location(scene: Scene) -> None:
    heading("Keys, credentials and a place for the copies")
    with tempfile.TemporaryDirectory() as folder:
        key, recovery = Path(folder) / "key", Path(folder) / "recovery"
        scene.terminal.run("recoup", "keygen", str(key), shown="recoup keygen key")
        scene.values["RECIPIENT"] = scene.terminal.run(
            "recoup", "keygen", "--recovery", str(recovery), shown="recoup keygen --recovery recovery   # goes into a safe"
        ).split()[-1]
        secret = ["kubectl", "-n", "recoup-movers", "create", "secret", "generic", "recoup-key"]
        scene.terminal.run(
            *secret, f"--from-file=key={key}", shown="kubectl -n recoup-movers create secret generic recoup-key --from-file=key"
        )
    for namespace in ("recoup-movers", "recoup-system"):
        scene.terminal.run(
            *("kubectl", "-n", namespace, "create", "secret", "generic", "frankfurt-s3"),
            *(f"--from-file={file.name}={file}" for file in sorted(scene.credentials.iterdir())),
            shown=f"kubectl -n {namespace} create secret generic frankfurt-s3 --from-file=credentials/",
        )
    scene.terminal.apply(example(scene, "location.yaml"), "docs/examples/location.yaml")
    wait_until("the location is usable", lambda: condition_missing(scene.terminal.get("backuplocation", "frankfurt"), "Ready"), 120)
    scene.terminal.run("kubectl", "get", "backuplocations")


def start_workload(scene: Scene) -> None:
    heading("An application that writes to a volume")
    scene.terminal.apply(example(scene, "workload.yaml"), "docs/examples/workload.yaml")
    scene.terminal.run("kubectl", "-n", "shop", "wait", "--for=condition=Ready", "pod/shop", "--timeout=120s")
    wait_until("the application has laid out its files", lambda: laid_out(scene), 60)


def laid_out(scene: Scene) -> str | None:
    command = ["kubectl", "-n", "shop", "exec", "shop", "--", "test", "-e", "/data/ready"]
    done = subprocess.run(command, env=scene.terminal.environment(), capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else "no file /data/ready"


def protect(scene: Scene) -> None:
    heading("A policy, and a recovery point right now")
    scene.terminal.apply(example(scene, "policy.yaml"), "docs/examples/policy.yaml")
    scene.terminal.apply(example(scene, "snapshot.yaml"), "docs/examples/snapshot.yaml")
    seconds = wait_until(
        "the recovery point is stored",
        lambda: condition_missing(scene.terminal.get("backupsnapshot", "before-upgrade", "shop"), "Ready"),
        240,
    )
    print(f"(ready after {seconds:.1f} s)")
    scene.terminal.run("kubectl", "-n", "shop", "get", "backuppolicies,backupsnapshots")


def remember(scene: Scene) -> tuple[str, str]:
    """What the volume holds now, for the comparison: one line per entry, and the journal, which goes on growing."""
    script = FINGERPRINT.read_text()
    before = scene.terminal.run(*("kubectl", "-n", "shop", "exec", "-i", "shop", "--", "python3", "-", "/data"), stdin=script, quiet=True)
    journal = scene.terminal.run("kubectl", "-n", "shop", "exec", "shop", "--", "cat", "/data/journal", quiet=True)
    return before, journal


def lose_the_namespace(scene: Scene) -> None:
    heading("The incident: the whole namespace is gone, volume and custom resources included")
    scene.terminal.run("kubectl", "delete", "namespace", "shop", "--timeout=120s")


def restore(scene: Scene) -> None:
    heading("Bring it back from the location, into a new namespace that the location grants it to")
    scene.terminal.apply(example(scene, "restore.yaml"), "docs/examples/restore.yaml")
    seconds = wait_until(
        "the volume is restored",
        lambda: condition_missing(scene.terminal.get("restorerequest", "incident-4711", "shop-recovered"), "Ready"),
        240,
    )
    print(f"(ready after {seconds:.1f} s)")
    scene.terminal.run("kubectl", "-n", "shop-recovered", "get", "restorerequests,persistentvolumeclaims")


READER = """
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: shop-recovered}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: reader
    image: ${WORKLOAD_IMAGE}
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "sleep 3600"]
    volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def compare(scene: Scene, before: str, journal: str) -> None:
    heading("The proof: every byte and attribute of the restored volume against the lost one")
    manifest = string.Template(READER).safe_substitute(scene.values)
    scene.terminal.run("kubectl", "apply", "-f", "-", stdin=manifest, quiet=True)
    scene.terminal.run("kubectl", "-n", "shop-recovered", "wait", "--for=condition=Ready", "pod/reader", "--timeout=120s", quiet=True)
    execute = ["kubectl", "-n", "shop-recovered", "exec", "-i", "reader", "--"]
    after = scene.terminal.run(*execute, "python3", "-", "/data", stdin=FINGERPRINT.read_text(), quiet=True)
    restored_journal = scene.terminal.run(*execute, "cat", "/data/journal", quiet=True)
    difference = list(difflib.unified_diff(before.splitlines(), after.splitlines(), "lost", "restored", lineterm="", n=0))
    if difference:
        print("\n".join(difference[:40]))
        message = f"the restored volume differs in {len(difference)} lines"
        raise DemoFailed(message)
    if not restored_journal or not journal.startswith(restored_journal):
        message = "the restored journal is not a beginning of the lost one"
        raise DemoFailed(message)
    entries = len(before.splitlines())
    print(f"{entries} entries: type, mode, owner, times, size, holes, links, extended attributes and SHA-256 are the same.")
    print(
        f"The journal, which was being written during the backup, came back as its first {len(restored_journal.splitlines())} whole lines"
    )
    print(f"of the {len(journal.splitlines())} that it had when the namespace was deleted.")
