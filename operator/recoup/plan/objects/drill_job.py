"""The Job of a drill: a restore from one location to a scratch volume that lives exactly as long as its pod.

The volume is a generic ephemeral one in the movers' namespace: Kubernetes makes its claim for the pod and removes it with the pod, so
nothing of it has to be remembered or swept.
"""

from collections.abc import Sequence

from recoup.api.backuplocation import BackupLocationSpec, EncryptionKey
from recoup.api.backuppolicy import Mover
from recoup.plan.actions import Object
from recoup.plan.objects.jobs import any_key, build_job
from recoup.plan.objects.pod import REPORT, RESTORE_CAPABILITIES, PodParts, build_pod_template, store_arguments, store_parts
from recoup.plan.observed import Surroundings


def build_drill_job(
    around: Surroundings, location: BackupLocationSpec, keys: Sequence[EncryptionKey], *,
    name: str, labels: dict[str, str], vault: str, fingerprint: str, manifest: str, purpose: str, scratch: Object,
) -> Object:  # fmt: skip
    """keys: those of the vault's home. scratch: the spec of the claim that the recovery point is restored to."""
    volumes, mounts, annotations = store_parts(location, {})
    key_volumes, key_mounts, key_arguments = any_key(keys)
    device = scratch.get("volumeMode") == "Block"
    arguments = [
        "drill", *store_arguments(location), "--vault", vault, *(("--fingerprint", fingerprint) if fingerprint else ()), *key_arguments,
        "--snapshot", manifest, "--target", "/dev/scratch" if device else "/scratch", "--round", purpose, "-o", "json", "--report", REPORT,
    ]  # fmt: skip
    mount = [] if device else [{"name": "scratch", "mountPath": "/scratch"}]
    parts = PodParts(
        arguments=arguments,
        volumes=[*volumes, *key_volumes, {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": scratch}}}],
        mounts=[*mounts, *key_mounts, *mount],
        devices=[{"name": "scratch", "devicePath": "/dev/scratch"}] if device else [],
        capabilities=RESTORE_CAPABILITIES,
        annotations=annotations,
    )
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    return build_job(name, around.movers_namespace, labels, template)
