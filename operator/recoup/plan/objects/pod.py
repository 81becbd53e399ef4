"""The pod of every mover: what it may do, what it sees, where it runs (docs/threat-model.md says why each line is there).

Responsible for the security context, the volumes that every mover has, and placement. Commands and their arguments are in jobs.py.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backuppolicy import Mover, Resources
from recoup.api.quantities import parse_bytes, parse_quantity
from recoup.plan.actions import Object
from recoup.plan.observed import Surroundings

CREDENTIALS = "/recoup/credentials"
CA_ANNOTATION = "recoup.dev/ca-bundle"
"""Annotation on a mover pod: certificates to trust for the location, shown to the container as a file."""

REPORT = "/dev/termination-log"

BACKUP_CAPABILITIES = ("DAC_OVERRIDE",)
"""Reading files of any owner and mode. DAC_READ_SEARCH would do, but the Pod Security level "baseline" forbids it and allows this."""

RESTORE_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP")
"""Setting owners, modes, set-id bits, times and file capabilities of files that belong to anybody."""

_DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}
_DEFAULT_LIMITS = {"memory": "1Gi"}


class RunsAs(Struct, frozen=True, kw_only=True):
    """The user of a mover's processes. Other than root it has no capability, whatever is asked for, and needs readable Secrets."""

    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = ()

    def security_context(self) -> Object:
        context: Object = {"runAsUser": self.user, "runAsGroup": self.group, "seccompProfile": {"type": "RuntimeDefault"}}
        if self.user:
            context["runAsNonRoot"] = True
        if self.groups:
            context["supplementalGroups"] = list(self.groups)
        return context


ROOT = RunsAs()


class PodParts(Struct, frozen=True, kw_only=True):
    """What one command adds to the common pod. account: a ServiceAccount that is not the movers' own; token: of it."""

    arguments: Sequence[str]
    volumes: Sequence[Object]
    mounts: Sequence[Object]
    capabilities: Sequence[str]
    devices: Sequence[Object] = ()
    annotations: Mapping[str, str] = {}
    account: str | None = None
    token: bool = False
    runs_as: RunsAs = ROOT


def build_pod_template(
    around: Surroundings, parts: PodParts, *, labels: dict[str, str], mover: Mover, node_affinity: Object | None
) -> Object:
    """The pod template of a mover Job. `node_affinity` is the `spec.nodeAffinity` of a PersistentVolume, or None."""
    spec: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": parts.account or around.mover_service_account,
        "automountServiceAccountToken": parts.token,
        "enableServiceLinks": False,
        "securityContext": parts.runs_as.security_context(),
        "containers": [_container(around, parts, mover)],
        "volumes": [*parts.volumes, {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
    }
    if around.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in around.image_pull_secrets]
    if mover.node_selector:
        spec["nodeSelector"] = mover.node_selector
    if mover.tolerations:
        spec["tolerations"] = [msgspec.to_builtins(toleration) for toleration in mover.tolerations]
    if mover.priority_class_name:
        spec["priorityClassName"] = mover.priority_class_name
    required = (node_affinity or {}).get("required")
    if required:
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    metadata: Object = {"labels": labels}
    if parts.annotations:
        metadata["annotations"] = dict(parts.annotations)
    return {"metadata": metadata, "spec": spec}


def _container(around: Surroundings, parts: PodParts, mover: Mover) -> Object:
    capabilities = parts.capabilities if parts.runs_as.user == 0 else ()
    container: Object = {
        "name": "mover",
        "image": around.image,
        "imagePullPolicy": around.image_pull_policy,
        "args": [argument.replace("$", "$$") for argument in parts.arguments],  # Kubernetes would expand $(…) and halve $$ in them
        "resources": _resources(mover.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": list(capabilities)} if capabilities else {"drop": ["ALL"]},
        },
        "terminationMessagePath": REPORT,
        "terminationMessagePolicy": "File",
        "volumeMounts": [*parts.mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # a mount of its own, in memory
    }
    if parts.devices:
        container["volumeDevices"] = list(parts.devices)
    return container


def _resources(asked: Resources) -> Object:
    """As asked for; what is left out by default, but never a request above its limit, which the API server would refuse."""
    limits = _DEFAULT_LIMITS | asked.limits
    requests: dict[str, str | int] = dict(asked.requests)
    for name, amount in _DEFAULT_REQUESTS.items():
        if name not in requests:
            limit = limits.get(name)
            requests[name] = limit if limit is not None and parse_quantity(limit) < parse_quantity(amount) else amount
    return {"requests": requests, "limits": limits}


def store_arguments(location: BackupLocationSpec) -> list[str]:
    """The location as the engine's command line takes it; credentials and certificates are files."""
    store = location.s3
    arguments = ["--location", store.url, "--region", store.region]
    if store.endpoint:
        arguments += ["--endpoint-url", store.endpoint]
    if store.force_path_style:
        arguments.append("--path-style")
    if store.ca_bundle:
        arguments += ["--ca-bundle", "/recoup/run/ca.pem"]
    limits = bandwidth_arguments(upload=location.limits.upload_bandwidth, download=location.limits.download_bandwidth)
    return [*arguments, *limits, "--credentials-dir", CREDENTIALS]


def bandwidth_arguments(*, upload: str | int | None, download: str | int | None) -> list[str]:
    """Quantities of bytes a second, as the command line takes them."""
    asked = (("--upload-limit", upload), ("--download-limit", download))
    return [part for flag, limit in asked if limit is not None for part in (flag, str(parse_bytes(limit)))]


def store_parts(
    location: BackupLocationSpec, shown: Mapping[str, tuple[str, str]], *, credentials: str | None = None
) -> tuple[list[Object], list[Object], dict[str, str]]:
    """Volumes, mounts and annotations through which a pod reaches its location.

    `shown`: file name under /recoup/run → (annotation, its text), for what a command wants beside the certificates.
    `credentials`: another Secret than the location's own.
    """
    files = dict(shown)
    if location.s3.ca_bundle:
        files["ca.pem"] = (CA_ANNOTATION, location.s3.ca_bundle)
    volumes = [secret_volume("credentials", credentials or location.s3.credentials_secret_ref.name)]
    mounts: list[Object] = [{"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True}]
    if files:
        items = [
            {"path": path, "fieldRef": {"fieldPath": f"metadata.annotations['{annotation}']"}} for path, (annotation, _) in files.items()
        ]
        volumes.append({"name": "run", "downwardAPI": {"items": items}})
        mounts.append({"name": "run", "mountPath": "/recoup/run", "readOnly": True})
    return volumes, mounts, dict(files.values())


def secret_volume(name: str, secret: str, *, optional: bool = False, mode: int = 0o400) -> Object:
    """A Secret as files (on tmpfs, by the kubelet), readable by root only unless `mode` says otherwise."""
    source: Object = {"secretName": secret, "defaultMode": mode}
    return {"name": name, "secret": source | {"optional": True} if optional else source}
