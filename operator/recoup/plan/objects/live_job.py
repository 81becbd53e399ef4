"""The Jobs of a Live capture: the mover in the workload's namespace, and the one that brings it its keys.

The mover's Secret is made when its Job exists, belongs to it, and is removed with it by the cluster's own garbage collector; the Job
belongs to its BackupSnapshot and has an end of its own, so nothing is left in the namespace though the controller be away.
"""

from collections.abc import Sequence

import msgspec

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backuppolicy import Mover, Toleration
from recoup.api.labels import RUN
from recoup.api.names import label_value, writer_secret
from recoup.api.objects import API_VERSION
from recoup.plan.actions import Object
from recoup.plan.objects.identity import ATTEMPT, COMPONENT, HANDOUT, LOCATION, Owner
from recoup.plan.objects.jobs import KEYS_JOB_KEPT, SHORT_JOB_LIMIT, WRITER, backup_arguments, build_job, data_volume
from recoup.plan.objects.pod import (
    BACKUP_CAPABILITIES,
    CREDENTIALS,
    REPORT,
    PodParts,
    RunsAs,
    build_pod_template,
    secret_volume,
    store_parts,
)
from recoup.plan.observed import Surroundings

LIVE_JOB_KEPT = 3600
"""Seconds that an ended mover stays if nobody removes it, and its Secret with it."""

_READABLE = 0o444
"""By whichever user the mover runs as; nobody else is in its pod."""


def build_live_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *,
    name: str, place: str, volume_uid: str, attempt: int, vault: str, run: str, claim: str, exclude: Sequence[str],
    mover: Mover, tolerations: Sequence[Toleration], node_affinity: Object | None, runs_as: RunsAs,
) -> Object:  # fmt: skip
    """Back the workload's own PVC `claim` up, mounted read-only. Its Secret has the name of the Job and comes later: the pod waits."""
    others, mounts, annotations = store_parts(location, {"run.json": (RUN, run)}, credentials=name)
    keys = secret_volume("credentials", name, mode=_READABLE)
    source, mount, _ = data_volume(claim, "Filesystem", "source", read_only=True)
    parts = PodParts(
        arguments=backup_arguments(location, vault=vault, exclude=exclude, source="/source"),
        volumes=[keys, *(volume for volume in others if volume["name"] != "credentials"), source],
        mounts=[*mounts, {"name": "credentials", "mountPath": WRITER, "readOnly": True}, *mount],
        capabilities=BACKUP_CAPABILITIES,
        annotations=annotations,
        account="default",
        runs_as=runs_as,
    )
    labels = owner.labels(volume_uid) | {COMPONENT: "mover", ATTEMPT: str(attempt), LOCATION: label_value(place)}
    wanted = msgspec.structs.replace(mover, tolerations=(*mover.tolerations, *tolerations))
    template = build_pod_template(around, parts, labels=labels, mover=wanted, node_affinity=node_affinity)
    job = build_job(name, owner.namespace, labels, template)
    job["metadata"]["ownerReferences"] = [{"apiVersion": API_VERSION, "kind": owner.kind, "name": owner.name, "uid": owner.uid}]
    job["spec"]["ttlSecondsAfterFinished"] = LIVE_JOB_KEPT
    return job


def build_handout_job(
    owner: Owner, around: Surroundings, location: BackupLocationSpec, *,
    name: str, place: str, volume_uid: str, attempt: int, vault: str, mover: Object,
) -> Object:  # fmt: skip
    """Make the Secret of `mover`, a Job that exists: the writer's keys of one vault, and the location's credentials for this purpose.

    The location must name such credentials.
    """
    credentials = location.s3.live_credentials_secret_ref
    assert credentials is not None, f"{place} has no credentials for the namespaces of workloads"
    metadata = mover["metadata"]
    arguments = [
        "handout-job", "--writer-keys", WRITER, "--credentials-dir", CREDENTIALS, "--namespace", metadata["namespace"],
        "--job", metadata["name"], "--job-uid", metadata["uid"], "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments,
        volumes=[secret_volume("credentials", credentials.name), secret_volume("writer", writer_secret(vault))],
        mounts=[
            {"name": "credentials", "mountPath": CREDENTIALS, "readOnly": True},
            {"name": "writer", "mountPath": WRITER, "readOnly": True},
        ],
        capabilities=(),
        account=around.handout_service_account,
        token=True,
    )
    labels = owner.labels(volume_uid) | {COMPONENT: HANDOUT, ATTEMPT: str(attempt)}
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    job = build_job(name, around.movers_namespace, labels, template)
    job["spec"] |= {"ttlSecondsAfterFinished": KEYS_JOB_KEPT, "activeDeadlineSeconds": SHORT_JOB_LIMIT}
    return job
