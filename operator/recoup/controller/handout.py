"""What the keys Job writes to the API server: each role's part as a Secret, and which vault it belongs to.

Needs create and patch on Secrets in two namespaces and reads none. Writing the same again changes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from recoup.api.backuplocation import Vault
from recoup.api.labels import MANAGED_BY, MANAGER
from recoup.api.objects import GROUP
from recoup.controller import failures
from recoup.controller.kube import Kube, Object
from recoup.controller.resources import JOB, SECRET
from recoup.plan.objects.identity import VAULT

FINGERPRINT = f"{GROUP}/fingerprint"
"""Annotation: the vault's root of trust, as the command line takes it."""
REPOSITORY = f"{GROUP}/repository"
"""Label: id of the location that the vault lies in."""
NAMESPACE = f"{GROUP}/vault-namespace"
NAMESPACE_UID = f"{GROUP}/vault-namespace-uid"
CLUSTER = f"{GROUP}/vault-cluster"
ROLES = f"{GROUP}/handed-out"
"""Annotation of the catalogue's Secret: the roles that have theirs. A keys Job of an earlier release handed out fewer, and named none."""

MAINTENANCE = "maintenance"
"""Role that forgets, pins and prunes."""


def handed_out() -> str:
    """The value of ROLES that this release's keys Job writes."""
    return f"catalogue,{MAINTENANCE},writer"


def has_role(secret: Object, role: str) -> bool:
    """Whether the keys Job that wrote this catalogue Secret handed the role its part, too."""
    return role in ((secret["metadata"].get("annotations") or {}).get(ROLES) or "").split(",")


def build_role_secret(
    *, name: str, namespace: str, vault: str, repository: str, annotations: Mapping[str, str], files: Mapping[str, bytes],
    goes_with: tuple[str, str] | None = None,
) -> Object:  # fmt: skip
    """The Secret with one role's files. goes_with: name and uid of the Namespace with which it is to go.

    The cluster's own garbage collector removes it then: nobody of ours needs the right to delete Secrets where keys lie.
    """
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": goes_with[0], "uid": goes_with[1]} if goes_with else None
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, VAULT: vault, REPOSITORY: repository},
            "annotations": dict(annotations),
            **({"ownerReferences": [owner]} if owner else {}),
        },
        "type": "Opaque",
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }


def build_mover_secret(*, namespace: str, job: str, job_uid: str, files: Mapping[str, bytes]) -> Object:
    """The Secret of one mover beside its workload. It can't be changed, and goes with the Job."""
    owner = {"apiVersion": JOB.api_version, "kind": JOB.kind, "name": job, "uid": job_uid}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {"name": job, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}, "ownerReferences": [owner]},
        "type": "Opaque",
        "immutable": True,
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }


def vault_notes(fingerprint: str, namespace: str, namespace_uid: str, cluster: str) -> dict[str, str]:
    """Annotations that say whose vault it is; cluster: uid of its kube-system, empty if that is not known."""
    notes = {FINGERPRINT: fingerprint, NAMESPACE: namespace, NAMESPACE_UID: namespace_uid}
    return notes | {CLUSTER: cluster} if cluster else notes


def to_vault(secret: Object, repository: str | None = None) -> Vault:
    """What the Secret's metadata says of the vault; the reverse of build_role_secret. repository: id of the location it was seen at."""
    metadata = secret["metadata"]
    notes, labels = metadata.get("annotations") or {}, metadata["labels"]
    return Vault(
        id=labels[VAULT],
        namespace=notes.get(NAMESPACE, ""),
        namespace_uid=notes.get(NAMESPACE_UID, ""),
        cluster=notes.get(CLUSTER),
        fingerprint=notes.get(FINGERPRINT, ""),
        replica=repository is not None and labels.get(REPOSITORY) != repository,
    )


def write_secret(kube: Kube, secret: Object) -> bool:
    """Create the Secret, or bring an existing one to this content. True if it was created. Raises the API server's refusal."""
    try:
        kube.create(SECRET, secret)
    except failures.AlreadyExists:
        metadata = secret["metadata"]
        patch = {"metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]}, "data": secret["data"]}
        kube.patch(SECRET, metadata["namespace"], metadata["name"], patch)
        return False
    return True
