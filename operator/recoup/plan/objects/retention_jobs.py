"""The Jobs of retention: forget, pin and unpin, prune. They hold the maintenance role of one vault and no key that opens content.

Those for pulled copies have the location's key, as a verification has: nobody hands out roles of another cluster's vault here.
Only prune gets the credentials that may delete, where the location has some of their own (docs/threat-model.md).
"""

from collections.abc import Sequence

from msgspec import Struct

from recoup.api.backuplocation import BackupLocationSpec, PullRetention
from recoup.api.backuppolicy import Mover, ZonedRules
from recoup.api.durations import parse_duration
from recoup.api.names import maintenance_secret
from recoup.plan.actions import Object
from recoup.plan.objects.jobs import any_key, build_job
from recoup.plan.objects.pod import REPORT, PodParts, build_pod_template, secret_volume, store_arguments, store_parts
from recoup.plan.observed import Surroundings
from recoup.suspicion import Thresholds

_KEYS = "/recoup/maintenance"
_BESIDE = "/recoup/beside"
_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


class Guard(Struct, frozen=True):
    """What `recoup forget` is told of suspicious changes. accepted: manifests; volumes: the only claims to judge, all if there is none."""

    thresholds: Thresholds
    accepted: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


def forget_arguments(policy_uid: str, generation: int, rules: ZonedRules, guard: Guard | None = None) -> list[str]:
    """`recoup forget` for one policy by its rules; which points these are, the command finds for itself."""
    counts = [part for name in _COUNTS if (number := getattr(rules, name)) for part in (f"--{name}", str(number))]
    within = ["--within", f"{int(parse_duration(rules.within).total_seconds())}s"] if rules.within else []
    floor = ["--min-verified", str(rules.min_verified), "--time-zone", rules.time_zone]
    return ["forget", "--policy", policy_uid, "--policy-generation", str(generation), *counts, *within, *floor, *_guarded(guard)]


def _guarded(guard: Guard | None) -> list[str]:
    if guard is None:
        return []
    names = Thresholds.__struct_fields__
    given = [part for name in names for part in (f"--{name.replace('_', '-')}", str(getattr(guard.thresholds, name)))]
    accepted = [part for manifest in guard.accepted for part in ("--accept", manifest)]
    volumes = [part for uid in guard.volumes for part in ("--volume", uid)]
    return ["--hold-suspicious", *given, *accepted, *volumes]


def pin_arguments(manifests: Sequence[str], reason: str) -> list[str]:
    """`recoup pin`: what is pinned for another reason gets this one."""
    return ["pin", "--renew", "--reason", reason, *manifests]


def unpin_arguments(manifests: Sequence[str], reason: str) -> list[str]:
    return ["unpin", "--reason", reason, *manifests]


def prune_arguments() -> list[str]:
    """`recoup prune` with its own grace of 7 days."""
    return ["prune"]


def pulled_forget_arguments(policies: Sequence[str], rules: PullRetention) -> list[str]:
    """`recoup forget` for policies of another cluster, each volume of each by itself."""
    counts = [part for name in _COUNTS if (number := getattr(rules, name)) for part in (f"--{name}", str(number))]
    within = ["--within", f"{int(parse_duration(rules.within).total_seconds())}s"] if rules.within else []
    guard = ["--guard", f"{int(parse_duration(rules.guard).total_seconds())}s"]
    return ["forget", *(part for policy in policies for part in ("--policy", policy)), *counts, *within, *guard]


def build_pulled_job(
    around: Surroundings, location: BackupLocationSpec, vault: str, fingerprint: str, arguments: Sequence[str], *,
    name: str, labels: dict[str, str], deletes: bool = False,
) -> Object:  # fmt: skip
    """Forget or prune of a vault that another cluster made. `deletes`: with the credentials that may."""
    own = location.s3.maintenance_credentials_secret_ref if deletes else None
    volumes, mounts, annotations = store_parts(location, {}, credentials=own.name if own else None)
    key_volumes, key_mounts, key_arguments = any_key(location.encryption.keys)
    command, *rest = arguments
    pinned = ["--vault", vault, *(("--fingerprint", fingerprint) if fingerprint else ())]
    parts = PodParts(
        arguments=[command, *store_arguments(location), *pinned, *key_arguments, "--report", REPORT, *rest],
        volumes=[*volumes, *key_volumes],
        mounts=[*mounts, *key_mounts],
        capabilities=(),
        annotations=annotations,
    )
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    return build_job(name, around.movers_namespace, labels, template)


def build_retention_job(
    around: Surroundings, location: BackupLocationSpec, vault: str, arguments: Sequence[str], *, name: str, labels: dict[str, str],
    deletes: bool = False, beside: Sequence[str] = (),
) -> Object:  # fmt: skip
    """One of the above. `deletes`: with the credentials that may. `beside`: vaults there whose points of the policy count as well."""
    own = location.s3.maintenance_credentials_secret_ref if deletes else None
    volumes, mounts, annotations = store_parts(location, {}, credentials=own.name if own else None)
    volumes.append(secret_volume("maintenance", maintenance_secret(vault)))
    mounts.append({"name": "maintenance", "mountPath": _KEYS, "readOnly": True})
    command, *rest = arguments
    for number, other in enumerate(beside):
        name_of, path = f"beside-{number}", f"{_BESIDE}-{number}"
        volumes.append(secret_volume(name_of, maintenance_secret(other)))
        mounts.append({"name": name_of, "mountPath": path, "readOnly": True})
        rest += ["--beside", path]
    parts = PodParts(
        arguments=[command, *store_arguments(location), "--maintenance-keys", _KEYS, "--report", REPORT, *rest],
        volumes=volumes,
        mounts=mounts,
        capabilities=(),
        annotations=annotations,
    )
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    return build_job(name, around.movers_namespace, labels, template)
