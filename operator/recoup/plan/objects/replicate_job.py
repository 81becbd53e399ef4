"""The Job that copies a vault to another location: it reads the one, creates at the other, and holds no key."""

from recoup.api.backuplocation import BackupLocationSpec
from recoup.api.backuppolicy import Mover
from recoup.plan.actions import Object
from recoup.plan.objects.jobs import build_job
from recoup.plan.objects.other_places import other_places
from recoup.plan.objects.pod import REPORT, PodParts, bandwidth_arguments, build_pod_template
from recoup.plan.observed import Surroundings


def build_replicate_job(
    around: Surroundings, source: BackupLocationSpec, target: BackupLocationSpec, *,
    name: str, labels: dict[str, str], vault: str, fingerprint: str, add_only: bool = False,
) -> Object:  # fmt: skip
    """fingerprint: of the vault as it is known here, so that nothing that somebody planted is copied. add_only: see its --help."""
    places = other_places([source, target])
    arguments = [
        "replicate", "--from", places.urls[0], "--to", places.urls[1], "--vault", vault,
        *(("--fingerprint", fingerprint) if fingerprint else ()),
        *(("--add-only",) if add_only else ()),
        *bandwidth_arguments(upload=target.limits.upload_bandwidth, download=source.limits.download_bandwidth),
        "--report", REPORT,
    ]  # fmt: skip
    parts = PodParts(
        arguments=arguments, volumes=places.volumes, mounts=places.mounts, capabilities=(), annotations=places.annotations
    )  # fmt: skip
    template = build_pod_template(around, parts, labels=labels, mover=Mover(), node_affinity=None)
    return build_job(name, around.movers_namespace, labels, template)
