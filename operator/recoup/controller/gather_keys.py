"""Whether a vault has its keys yet, and the keys Jobs that are making them: read for policies and for the beginning of runs."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.kube import Object
from recoup.controller.resources import JOB, POD
from recoup.plan.objects.identity import VAULT


class VaultKeys(Struct, frozen=True, kw_only=True):
    """ready: the Secret catalogue-<vault> is there. jobs: the vault's keys Jobs and their Pods. warnings: by uid, while there are none."""

    ready: bool = False
    jobs: tuple[Object, ...] = ()
    warnings: dict[str, str] = {}


def observe_keys(reader: Reader, catalogues: Catalogues, vault: str, now: datetime) -> VaultKeys:
    """One look. Raises what the API server's reads raise."""
    jobs = reader.jobs_and_pods(f"{VAULT}={vault}")
    ready = not _is_to_begin(jobs) and catalogues.has_keys(vault)
    return VaultKeys(ready=ready, jobs=jobs, warnings={} if ready else reader.warnings_of(jobs, now))


def _is_to_begin(keys_jobs: tuple[Object, ...]) -> bool:
    """There is a keys Job whose container has not run yet: its Secrets need not be asked for."""
    pods = [child for child in keys_jobs if child["kind"] == POD.kind]
    jobs = [child for child in keys_jobs if child["kind"] == JOB.kind]
    begun = any((pod.get("status") or {}).get("phase") not in (None, "Pending") for pod in pods)
    return not begun and any(not (job.get("status") or {}).get("conditions") for job in jobs)
