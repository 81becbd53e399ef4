"""What each role may do in a location's bucket: the one source of docs/bucket-policies.md and of the policies that the tests run under.

`python -m tools.bucket_policies` writes the page, `--check` says whether it is as it should be, `--role NAME --bucket B --prefix P`
prints a policy to use. tests/integration/s3/test_bucket_policies.py compares the grants with the requests that the engine makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "bucket-policies.md"
TEXT = Path(__file__).with_name("bucket_policies.md")
ARN = "arn:aws:s3:::"
ONLY_IF_ABSENT = {"Null": {"s3:if-none-match": "false"}}
"""The request must carry If-None-Match. AWS knows this condition; minio refuses a policy that has it, versitygw does not heed it."""

AREAS = {
    "recoup": "recoup",
    "descriptor": "v/*/descriptor/*",
    "keyring": "v/*/keyring/*",
    "log": "v/*/log/*",
    "checkpoint": "v/*/checkpoint/*",
    "d": "v/*/d/*",
    "m": "v/*/m/*",
    "x": "v/*/x/*",
    "probe": "probe/*",
}
"""Part of a location (docs/format.md section 1) by its short name: the names of its objects, relative to the prefix."""


@dataclass(frozen=True)
class Role:
    """Areas by what may be done there. Every role may list the bucket: the page says why."""

    title: str
    get: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    delete: tuple[str, ...] = ()


READ = ("descriptor", "keyring", "log", "checkpoint", "d", "m", "x")
ROLES = {
    "writer": Role("backup mover", get=("log", "checkpoint", "x"), create=("log", "d", "m", "x")),
    "reader": Role("restore mover, verification", get=READ),
    "verifier": Role("verification that records its result", get=READ, create=("log",)),
    "catalogue": Role("controller", get=("recoup", "log", "checkpoint", "x")),
    "keys": Role(
        "keys Job, `recoup init`",
        get=("recoup", "keyring", "log", "checkpoint", "x"),
        create=("recoup", "descriptor", "keyring", "log"),
    ),
    "probe": Role("probe Job, `recoup doctor`", get=("probe",), create=("probe",), delete=("probe",)),
}
MOVERS = ("writer", "reader", "keys", "probe")
"""Roles that share the Secret in the movers' namespace."""


def policy(roles: str | Iterable[str], bucket: str, prefix: str, *, conditional: bool = True) -> dict[str, Any]:
    """An IAM policy document for one role, or for what several may do together. `prefix` as in the location, "" for none.

    `conditional=False` leaves out the condition against overwriting, for servers that do not know it.
    """
    chosen = [ROLES[name] for name in ([roles] if isinstance(roles, str) else roles)]
    root = f"{ARN}{bucket}/{prefix.strip('/')}".rstrip("/")
    statements: list[dict[str, Any]] = [_allow("List", "s3:ListBucket", [ARN + bucket])]
    for sid, action, asked in (
        ("Read", "s3:GetObject", [area for role in chosen for area in role.get]),
        ("Create", "s3:PutObject", [area for role in chosen for area in role.create]),
        ("CleanUp", "s3:DeleteObject", [area for role in chosen for area in role.delete]),
    ):
        areas = [pattern for area, pattern in AREAS.items() if area in asked]
        if areas:
            statements.append(_allow(sid, action, [f"{root}/{pattern}" for pattern in areas]))
            if conditional and action == "s3:PutObject":
                statements[-1]["Condition"] = ONLY_IF_ABSENT
    return {"Version": "2012-10-17", "Statement": statements}


def render() -> str:
    """The page: its text, with the table and the documents filled in."""
    page = TEXT.read_text().replace("{TABLE}", _table())
    parts = [(f"## {role.title[0].upper()}{role.title[1:]} (`{name}`)", [name]) for name, role in ROLES.items()]
    parts.append(("## All movers of a cluster, restores included (`movers`)", list(MOVERS)))
    parts.append(("## All movers of a cluster that never restores (`movers-write-only`)", [name for name in MOVERS if name != "reader"]))
    documents = [f"{title}\n```json\n{_compact(policy(names, 'BUCKET', 'PREFIX'))}\n```" for title, names in parts]
    return page.replace("{DOCUMENTS}", "\n\n".join(documents))


def _allow(sid: str, action: str, resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resources}


def _table() -> str:
    lines = ["| role | who | GET | PUT, only if absent | DELETE |", "|---|---|---|---|---|"]
    for name, role in ROLES.items():
        cells = (" ".join(f"`{AREAS[area]}`" for area in areas) or "none" for areas in (role.get, role.create, role.delete))
        lines.append(f"| `{name}` | {role.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _compact(document: dict[str, Any]) -> str:
    """JSON with one line for each field of a statement."""
    statements = []
    for statement in document["Statement"]:
        fields = ",\n     ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in statement.items())
        statements.append(f"    {{{fields}}}")
    return f'{{"Version": "{document["Version"]}",\n "Statement": [\n' + ",\n".join(statements) + "\n]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bucket_policies", description="Bucket policies for each role of Recoup.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not what would be written")
    parser.add_argument("--role", choices=[*ROLES, "movers", "movers-write-only"], help="print the policy of this role instead")
    parser.add_argument("--bucket", default="BUCKET")
    parser.add_argument("--prefix", default="PREFIX", help='as in the location; "" for none')
    parser.add_argument("--no-condition", action="store_true", help="for servers that do not know the condition s3:if-none-match")
    return parser.parse_args()


def main() -> int:
    asked = _arguments()
    if asked.role:
        groups = {"movers": MOVERS, "movers-write-only": tuple(name for name in MOVERS if name != "reader")}
        document = policy(groups.get(asked.role, (asked.role,)), asked.bucket, asked.prefix, conditional=not asked.no_condition)
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return 0
    page = render()
    if asked.check:
        return int(PAGE.read_text() != page)
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
