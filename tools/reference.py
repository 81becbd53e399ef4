"""Writes docs/reference/ from crds/: one page per kind with every field, its type, default and bounds, and the rules in words.

`python -m tools.reference` writes the pages; `--check` only says whether they are as they should be (tests/contract does the same).
The text is that of the descriptions in the YAML: what is wrong in a page is mended there.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
Schema = dict[str, Any]

MARK = "by `python -m tools.reference`"


def wanted_pages() -> dict[Path, str]:
    """Every page and what it should say."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    pages = {REFERENCE / f"{crd['spec']['names']['singular']}.md": write_page(crd) for crd in crds}
    return pages | {REFERENCE / "README.md": write_index(crds)}


def stale_pages() -> list[Path]:
    """Pages that differ from what they should say, are missing, or are of a kind that is gone. Other pages are not ours."""
    wanted = wanted_pages()
    made = {path for path in REFERENCE.glob("*.md") if MARK in path.read_text()}
    different = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    return sorted({*different, *(made - set(wanted))})


def write_index(crds: list[Schema]) -> str:
    lines = ["# Custom resources", "", f"Generated from `crds/` {MARK}. `kubectl explain` says the same.", ""]
    for crd in crds:
        names, schema = crd["spec"]["names"], root_of(crd)
        lines.append(f"- [{names['kind']}]({names['singular']}.md) (`kubectl get {names['shortNames'][0]}`): {schema['description']}")
    return "\n".join(lines) + "\n"


def write_page(crd: Schema) -> str:
    names, schema = crd["spec"]["names"], root_of(crd)
    (version,) = crd["spec"]["versions"]
    scope = "one for the cluster" if crd["spec"]["scope"] == "Cluster" else "in a namespace"
    lines = [
        f"# {names['kind']}",
        "",
        f"Generated from `crds/{names['plural']}.yaml` {MARK}.",
        "",
        schema["description"],
        "",
        f"`apiVersion: {crd['spec']['group']}/{version['name']}`, {scope}; short name `{names['shortNames'][0]}`.",
    ]
    for side in ("spec", "status"):
        part = schema["properties"][side]
        lines += ["", f"## {side}", "", part["description"], "", "| Field | Type | |", "|---|---|---|"]
        lines += [f"| `{path}` | {type_of(node, required=required)} | {meaning_of(node)} |" for path, node, required in fields_of(part)]
        rules = [f"- `{path or side}`: {rule}" for path, rule in rules_of(part)]
        if rules:
            lines += ["", "Rules:", "", *rules]
    lines += ["", "## Columns", "", "| Column | Shows | |", "|---|---|---|"]
    for column in version["additionalPrinterColumns"]:
        wide = "with `-o wide`" if column.get("priority") else ""
        lines.append(f"| {column['name'].upper()} | `{column['jsonPath']}` | {wide} |")
    return "\n".join(lines) + "\n"


def root_of(crd: Schema) -> Schema:
    (version,) = crd["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def fields_of(node: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Path, schema and whether it must be given, of every field below a node, in the order of the YAML."""
    for name, child in node.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, child, name in node.get("required", [])
        inner = child.get("items", child)
        yield from fields_of(inner, f"{path}[]." if "items" in child else f"{path}.")


def rules_of(node: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    for rule in node.get("x-kubernetes-validations", []):
        yield path, escape(rule["message"])
    for name, child in node.get("properties", {}).items():
        yield from rules_of(child, f"{path}.{name}" if path else name)
    if "items" in node:
        yield from rules_of(node["items"], f"{path}[]")


def type_of(node: Schema, *, required: bool) -> str:
    words = [word_for(node)]
    if "enum" in node:
        words = [escape(" \\| ".join(f"`{value}`" for value in node["enum"]))]
    if "default" in node and node["default"] != {}:
        words.append(f"default `{node['default']}`" if node["default"] != "" else 'default `""`')
    if required:
        words.append("**required**")
    return ", ".join(words).replace("`False`", "`false`").replace("`True`", "`true`")


def word_for(node: Schema) -> str:
    match node.get("type"):
        case "array":
            kind = "names" if node["x-kubernetes-list-type"] == "set" else "list"
            return f"{kind}, at most {node['maxItems']}"
        case "object":
            return f"map, at most {node['maxProperties']}" if "additionalProperties" in node else "object"
        case "string" if node.get("format") == "date-time":
            return "time"
        case None:
            return "quantity"
        case other:
            return str(other)


def meaning_of(node: Schema) -> str:
    return escape(node["description"])


def escape(text: str) -> str:
    """What would end a cell of a table, or look like HTML."""
    return text.replace("\\|", "|").replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is out of date")
    stale = stale_pages()
    if parser.parse_args().check:
        sys.exit("\n".join(["out of date, run python -m tools.reference:", *map(str, stale)]) if stale else 0)
    wanted = wanted_pages()
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path])
        else:
            path.unlink()
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
