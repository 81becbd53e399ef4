"""The metric of coverage: computed at the scrape from the cache, so that nothing is kept or written for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recoup.controller.kube import Kube
from recoup.controller.resources import POLICY, PVC
from recoup.plan.coverage import judge_coverage


class CoverageGauges(Collector):
    """`kube` answers from memory. Says nothing while `is_leading` is False: one replica speaks for the cluster."""

    def __init__(self, kube: Kube, *, movers_namespace: str, now: Callable[[], datetime], is_leading: Callable[[], bool]) -> None:
        self._kube, self._movers_namespace, self._now, self._is_leading = kube, movers_namespace, now, is_leading

    def describe(self) -> Iterable[Metric]:
        return [coverage_family()]

    def collect(self) -> Iterable[Metric]:
        family = coverage_family()
        if self._is_leading():
            claims, policies = self._kube.list(PVC, None), self._kube.list(POLICY, None)
            for one in judge_coverage(claims, policies, self._now(), movers_namespace=self._movers_namespace):
                family.add_metric([one.namespace, one.claim, one.state], 1.0)
        yield family


def coverage_family() -> GaugeMetricFamily:
    """The metric without samples."""
    return GaugeMetricFamily(
        "recoup_volume_coverage",
        "1 for what every PersistentVolumeClaim of the cluster is: Protected, Stale, Unprotected or Excluded.",
        labels=["namespace", "persistentvolumeclaim", "state"],
    )
