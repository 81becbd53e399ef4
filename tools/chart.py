"""Keeps what is derived from the chart in step: its copies of crds/, and docs/rbac.md from the comments of its roles.

`python -m tools.chart` writes both; `--check` only says whether they are as they should be (tests/contract/test_chart.py does the
same). Every rule of a role must have its reason in the comment above it: a rule without one is an error.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHART = ROOT / "charts" / "recoup"
RBAC_DOC = ROOT / "docs" / "rbac.md"

HEAD = """\
# Who may do what

Generated from the roles of the chart (`charts/recoup/templates/rbac-*.yaml`) by `python -m tools.chart`; the reasons are the comments
there. Two namespaces appear: the controller's (where the release is, `recoup-system` in the examples) and the movers' (value
`movers.namespace`, `recoup-movers` by default).

Movers run under the ServiceAccount `recoup-mover`, which is bound to nothing and whose token they don't get. The controller has no
verb on Secrets in the movers' namespace, so it cannot read the keys and credentials that lie there. It can start Jobs there, and
whoever may create pods in a namespace can mount its Secrets: [the threat model](threat-model.md) says what follows from that, and
what keys kept offline change.
"""


@dataclass
class Rule:
    groups: str
    resources: str
    verbs: str
    reason: str
    names: str = ""


@dataclass
class Role:
    kind: str
    name: str
    where: str
    rules: list[Rule] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.kind} `{self.name}`" + (f" in {self.where}" if self.where else "")


def read_roles(text: str, origin: str) -> list[Role]:
    """The roles of one template, in order. Raises SystemExit for a rule that has no reason."""
    roles = []
    value = re.search(r"range \.Values\.(\S+)", text)
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        kind = re.search(r"^kind: (ClusterRole|Role)$", document, re.MULTILINE)
        name = re.search(r"^  name: (.+)$", document, re.MULTILINE)
        if not kind or not name:
            continue
        place = re.search(r"^  namespace: (.+)$", document, re.MULTILINE)
        where = _place(place[1], value[1] if value else "") if place else ""
        role = Role(kind[1], re.sub(r"\{\{ *\.Release\.Name *\}\}", "recoup", name[1]), where)
        role.rules = _read_rules(document.partition("\nrules:\n")[2], f"{origin}: {role.title}")
        roles.append(role)
    return roles


def _place(namespace: str, value: str) -> str:
    if "Release" in namespace:
        return "the controller's namespace"
    return "the movers' namespace" if "movers" in namespace else f"each namespace of the chart value `{value}`"


def _read_rules(text: str, origin: str) -> list[Rule]:
    rules = []
    blocks = re.split(r"(?=^  # |^  - apiGroups)", text, flags=re.MULTILINE)
    reason = ""
    for block in blocks:
        if block.startswith("  # "):
            reason = f"{reason} {block[4:].strip()}".strip()
            continue
        if not block.startswith("  - apiGroups"):
            continue
        values = dict(re.findall(r"(apiGroups|resources|resourceNames|verbs): \[(.*)\]", block))
        if not reason:
            sys.exit(f"{origin}: the rule for {values['resources']} has no comment with its reason")
        groups = values["apiGroups"].replace('""', "core")
        rules.append(Rule(groups, values["resources"], values["verbs"], reason, values.get("resourceNames", "")))
        reason = ""
    return rules


def render_rbac() -> str:
    parts = [HEAD]
    for path in sorted((CHART / "templates").glob("rbac-*.yaml")):
        for role in read_roles(path.read_text(), path.name):
            parts.append(f"\n## {role.title}\n\n| API group | resources | verbs | why |\n|---|---|---|---|\n")
            for rule in role.rules:
                resources = rule.resources + (f" named {rule.names}" if rule.names else "")
                parts.append(f"| {rule.groups} | {resources} | {rule.verbs} | {rule.reason} |\n")
    return "".join(parts)


def wanted_files() -> dict[Path, str]:
    """Every derived file and what it should hold."""
    crds = {CHART / "files" / "crds" / path.name: path.read_text() for path in sorted((ROOT / "crds").glob("*.yaml"))}
    return crds | {RBAC_DOC: render_rbac()}


def stale_files() -> list[Path]:
    """Derived files that are missing, differ, or should not be there."""
    wanted = wanted_files()
    extra = set((CHART / "files" / "crds").glob("*")) - set(wanted)
    return sorted(extra | {path for path, text in wanted.items() if not path.exists() or path.read_text() != text})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.chart", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is out of date")
    stale = stale_files()
    if parser.parse_args().check:
        sys.exit("\n".join(["out of date, run python -m tools.chart:", *map(str, stale)]) if stale else 0)
    wanted = wanted_files()
    for path in stale:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
