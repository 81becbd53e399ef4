"""When a location's id is told, and with it its vaults: never while keys are being made there, always otherwise."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from recoup.api.labels import MANAGED_BY, MANAGER, OWNER_UID
from recoup.controller.catalogues import Catalogues
from recoup.controller.gather import Reader
from recoup.controller.gather_location import LocationReconciler
from recoup.controller.gather_views import Views
from recoup.controller.handout import FINGERPRINT, NAMESPACE, NAMESPACE_UID, REPOSITORY
from recoup.controller.ledger import FailureLedger
from recoup.controller.resources import JOB, LOCATION, SECRET
from recoup.plan.location import LocationObserved
from recoup.plan.objects.identity import COMPONENT, VAULT
from recoup.plan.observed import Surroundings
from tests.fakes.memory_kube import MemoryKube
from tests.faults.driver import a_location

AROUND = Surroundings(image="recoup:test", cluster_uid="cluster-1")
REPO = "0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Bucket:
    """Stands for the catalogues: a location that something was stored at."""

    def look(self, _location: dict[str, Any], *, max_age: float) -> str:  # noqa: ARG002  # always fresh
        return REPO


def observe(*conditions: str, component: str = "keys") -> LocationObserved:
    """A location with one vault and a Job of this component with these conditions."""
    kube = MemoryKube()
    location = kube.put(LOCATION, {"metadata": {"name": "frankfurt", "uid": "uid-of-location"}, "spec": a_location(NOW)["spec"]})
    labels = {MANAGED_BY: MANAGER, OWNER_UID: "uid-of-location", COMPONENT: component}
    status = {"conditions": [{"type": kind, "status": "True"} for kind in conditions]}
    metadata = {"name": "frankfurt-keys", "namespace": AROUND.movers_namespace, "labels": labels}
    kube.put(JOB, {"metadata": metadata, "status": status})
    notes = {NAMESPACE: "shop", NAMESPACE_UID: "uid-of-shop", FINGERPRINT: "f" * 64}
    marks = {VAULT: "ab" * 16, REPOSITORY: REPO}
    secret = {"name": "catalogue-" + "ab" * 16, "namespace": AROUND.system_namespace, "labels": marks, "annotations": notes}
    kube.put(SECRET, {"metadata": secret})
    reader, bucket = Reader(kube, AROUND, clock=lambda: 0.0), cast("Catalogues", Bucket())
    return LocationReconciler(reader, bucket, FailureLedger(), Views(bucket)).observe(location, NOW)


def test_a_place_where_keys_are_being_made_has_no_id_yet() -> None:
    seen = observe()
    assert seen.reading is not None
    assert seen.reading.repository_id is None
    assert seen.vaults == ()


@pytest.mark.parametrize("ended", ["Complete", "Failed"])
def test_a_keys_job_that_ended_hides_nothing(ended: str) -> None:
    """It stays for ten minutes when the namespace that it was made for is gone; found by tests/e2e/cluster/test_interruptions.py."""
    seen = observe(ended)
    assert seen.reading is not None
    assert seen.reading.repository_id == REPO
    assert [vault.namespace for vault in seen.vaults] == ["shop"]


def test_a_probe_hides_nothing() -> None:
    assert [vault.namespace for vault in observe(component="mover").vaults] == ["shop"]
