"""The Job that verifies a vault at one location, and heals what it finds damaged from others. It has a key, as a restore has."""

from collections.abc import Sequence

from recoup.api.backuplocation import BackupLocationSpec, EncryptionKey
from recoup.api.backuppolicy import Mover
from recoup.plan.actions import Object
from recoup.plan.objects.jobs import any_key, build_job
from recoup.plan.objects.other_places import other_places
from recoup.plan.objects.pod import REPORT, PodParts, build_pod_template, store_arguments, store_parts
from recoup.plan.observed import Surroundings


def build_verify_job(
    around: Surroundings, location: BackupLocationSpec, others: Sequence[BackupLocationSpec], keys: Sequence[EncryptionKey], *,
    name: str, labels: dict[str, str], vault: str, fingerprint: str, level: int, purpose: str, points: Sequence[str],
) -> Object:  # fmt: skip
    """keys: those of the vault's home. others: where to heal from. points: only these; none means all that the location has."""
    volumes, mounts, annotations = store_parts(location, {})
    key_volumes, key_mounts, key_arguments = any_key(keys)
    elsewhere = other_places(others)
    arguments = [
        "verify", *store_arguments(location), "--vault", vault, *(("--fingerprint", fingerprint) if fingerprint else ()), *key_arguments,
        "--level", str(level), "--round", purpose,
        *(part for url in elsewhere.urls for part in ("--heal-from", url)),
        *(part for point in points for part in ("--snapshot", point)),
        "-o", "json", "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments,
        volumes=[*volumes, *key_volumes, *elsewhere.volumes],
        mounts=[*mounts, *key_mounts, *elsewhere.mounts],
        capabilities=(),
        annotations=annotations | elsewhere.annotations,
    )
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    return build_job(name, around.movers_namespace, labels, template)
