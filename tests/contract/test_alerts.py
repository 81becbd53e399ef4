"""The alert rules, run by promtool; the dashboard, whose every question can be asked; and both know only metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.programs import program
from tests.contract.test_chart import find, render

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "charts" / "recoup" / "files"
CASES = Path(__file__).parent / "alerts.test.yaml"
METRIC = re.compile(r"\brecoup_[a-z_]+\b")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def questions() -> list[str]:
    board = json.loads((FILES / "dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def known() -> set[str]:
    """Metrics as Prometheus stores them: a histogram is three."""
    rows = re.findall(r"^\| `(recoup_\w+)` \| (\w+) ", (ROOT / "docs" / "reference" / "metrics.md").read_text(), re.MULTILINE)
    return {name + suffix for name, kind in rows for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}


def test_the_rules_fire_for_their_causes(tmp_path: Path) -> None:
    for path in (FILES / "alerts.yaml", CASES):
        (tmp_path / path.name).write_text(path.read_text())
    promtool("check", "rules", tmp_path / "alerts.yaml")
    promtool("test", "rules", tmp_path / CASES.name)


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {rule["alert"] for rule in rules()} == {case["alertname"] for case in cases if case["exp_alerts"]}


def test_rules_and_dashboard_know_only_metrics_that_there_are() -> None:
    named = {name for text in [*(rule["expr"] for rule in rules()), *questions()] for name in METRIC.findall(text)}
    assert named - known() == set()


def test_every_question_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    asked = [{"record": f"question:{number}", "expr": expr} for number, expr in enumerate(questions())]
    path = tmp_path / "questions.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", path)


def test_the_chart_carries_them_where_asked() -> None:
    assert not [made for made in render() if made["kind"] in ("ServiceMonitor", "PrometheusRule")]
    made = render("monitoring.rules=true", "monitoring.serviceMonitor=true", "monitoring.dashboard=true", "monitoring.labels.team=infra")
    rule = find(made, "PrometheusRule", "recoup")
    assert rule["spec"] == yaml.safe_load((FILES / "alerts.yaml").read_text())
    board = find(made, "ConfigMap", "recoup-dashboard")
    assert json.loads(board["data"]["recoup.json"])["title"] == "Recoup"
    monitor = find(made, "ServiceMonitor", "recoup-controller")
    service = find(made, "Service", "recoup-controller-metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert all(each["metadata"]["labels"]["team"] == "infra" for each in (rule, board, monitor))


def test_the_docs_list_the_alerts() -> None:
    rows = re.findall(r"^\| `(Recoup\w+)` \| (\w+) \|", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in rules()]
