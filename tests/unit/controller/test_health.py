from __future__ import annotations

import pytest
import urllib3

from recoup.controller.health import HealthServer
from recoup.controller.metrics import Metrics
from recoup.controller.resources import Key
from tests.unit.controller.clock import Clock


class Probe:
    trouble: str | None = None

    def __call__(self) -> str | None:
        return self.trouble


def test_the_pages_say_what_is_wrong() -> None:
    healthy, ready = Probe(), Probe()
    server = HealthServer("127.0.0.1", 0, healthy=healthy, ready=ready, registry=Metrics().registry)
    server.start()
    try:

        def page(path: str) -> tuple[int, str]:
            answer = urllib3.request("GET", f"http://127.0.0.1:{server.port}{path}", retries=False, timeout=5)
            return answer.status, answer.data.decode()

        assert page("/healthz") == (200, "ok\n")
        assert page("/readyz") == (200, "ok\n")
        healthy.trouble, ready.trouble = "a worker hangs", "the API server does not answer"
        assert page("/healthz") == (503, "a worker hangs\n")
        assert page("/readyz") == (503, "the API server does not answer\n")
        assert page("/")[0] == 404
        status, text = page("/metrics")
        assert status == 200
        assert "recoup_leading 0.0" in text
    finally:
        server.stop()


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_gauges_follow_the_objects() -> None:
    metrics = Metrics()
    key = Key("BackupPolicy", "shop", "p")
    conditions = [{"type": "Ready", "status": "True"}]
    coverage = {"selected": 3, "protected": 2, "failed": 1}
    metrics.objects.saw(key, {"conditions": conditions, "coverage": coverage, "lastSuccess": {"at": "1970-01-01T00:01:00Z"}})
    metrics.objects.saw(Key("BackupLocation", "", "f"), {"conditions": [{"type": "Reachable", "status": "False"}]})
    assert sample(metrics, "recoup_objects", kind="BackupPolicy", state="ready") == 1
    assert sample(metrics, "recoup_objects", kind="BackupSnapshot", state="ready") == 0
    assert sample(metrics, "recoup_policy_volumes", namespace="shop", policy="p", state="protected") == 2
    assert sample(metrics, "recoup_policy_last_success_timestamp_seconds", namespace="shop", policy="p") == 60
    assert sample(metrics, "recoup_location_reachable", location="f") == 0
    metrics.objects.gone(key)
    assert sample(metrics, "recoup_objects", kind="BackupPolicy", state="ready") == 0
    assert sample(metrics, "recoup_policy_volumes", namespace="shop", policy="p", state="protected") is None


@pytest.mark.parametrize("status", [{}, {"conditions": None}, {"conditions": [{"type": "Ready"}]}])
def test_a_status_that_says_little_counts_as_unknown(status: dict[str, object]) -> None:
    metrics = Metrics()
    metrics.objects.saw(Key("BackupSnapshot", "shop", "s"), status)
    assert sample(metrics, "recoup_objects", kind="BackupSnapshot", state="unknown") == 1


def test_bytes_are_counted_once_when_a_run_is_seen_to_end() -> None:
    metrics, clock = Metrics(), Clock()
    key, volumes = Key("BackupSnapshot", "shop", "s"), [{"bytesRead": 10, "bytesStored": 3}, {"bytesRead": 5, "bytesStored": 1}]
    for state in ("False", "True", "True"):
        status = {"conditions": [{"type": "Stored", "status": state}], "volumes": volumes}
        metrics.saw(key, clock.now(), status, clock.now())
    metrics.saw(Key("BackupSnapshot", "shop", "older"), clock.now(), status, clock.now())
    assert sample(metrics, "recoup_backup_read_bytes_total") == 15
    assert sample(metrics, "recoup_backup_stored_bytes_total") == 4
