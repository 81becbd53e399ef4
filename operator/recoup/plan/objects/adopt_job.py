"""The Job that opens vaults made elsewhere, so that the controller can list what is in them. It reads the location only."""

from collections.abc import Sequence

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backuppolicy import Mover
from recoup.plan.actions import Object
from recoup.plan.objects.identity import ADOPTS, COMPONENT, Owner
from recoup.plan.objects.jobs import any_key, build_job
from recoup.plan.objects.pod import REPORT, PodParts, build_pod_template, store_arguments, store_parts
from recoup.plan.observed import Surroundings

ADOPT_LIMIT = 3600
"""Seconds after which Kubernetes ends it: a vault takes the reading of its log."""


def build_adopt_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *, name: str, vaults: Sequence[str], fingerprints: Sequence[str]
) -> Object:
    """fingerprints: those that are pinned; a vault that leads to another root key is refused."""
    volumes, mounts, annotations = store_parts(location, {})
    keys, key_mounts, key_arguments = any_key(location.encryption.keys)
    arguments = [
        "adopt-job", *store_arguments(location), *key_arguments,
        *(part for vault in vaults for part in ("--vault", vault)),
        *(part for fingerprint in fingerprints for part in ("--fingerprint", fingerprint)),
        "--catalogue-namespace", around.system_namespace, "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments,
        volumes=[*volumes, *keys],
        mounts=[*mounts, *key_mounts],
        capabilities=(),
        annotations=annotations,
        account=around.keys_service_account,
        token=True,
    )
    labels = owner.labels() | {COMPONENT: "keys", ADOPTS: "vaults"}
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    job = build_job(name, around.movers_namespace, labels, template)
    job["spec"]["activeDeadlineSeconds"] = ADOPT_LIMIT
    return job
