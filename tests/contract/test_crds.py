"""The CRDs as files, held together with the types in recoup.api: one cannot change without the other."""

import enum
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from recoup.api import backuplocation, backuppolicy, backupsnapshot, conditions, durations, objects, restorerequest

ROOT = Path(__file__).parents[2]
Schema = dict[str, Any]

KINDS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "BackupLocation": (backuplocation.BackupLocationSpec, backuplocation.BackupLocationStatus),
    "BackupPolicy": (backuppolicy.BackupPolicySpec, backuppolicy.BackupPolicyStatus),
    "BackupSnapshot": (backupsnapshot.BackupSnapshotSpec, backupsnapshot.BackupSnapshotStatus),
    "RestoreRequest": (restorerequest.RestoreRequestSpec, restorerequest.RestoreRequestStatus),
}
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in (yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml")))}
SIDES = [(kind, side) for kind in KINDS for side in ("spec", "status")]


def version(kind: str) -> Schema:
    (only,) = CRDS[kind]["spec"]["versions"]
    found: Schema = only
    return found


def schema(kind: str, side: str) -> Schema:
    found: Schema = version(kind)["schema"]["openAPIV3Schema"]["properties"][side]
    return found


def walk(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every schema below a node, with the path of its field."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], f"{path}{{}}")


def every_field() -> Iterator[tuple[str, Schema]]:
    for kind, side in SIDES:
        yield from walk(schema(kind, side), f"{kind}.{side}")


def test_there_is_one_crd_for_each_kind() -> None:
    assert set(CRDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_kind_has(kind: str) -> None:
    crd, names = CRDS[kind]["spec"], CRDS[kind]["spec"]["names"]
    assert CRDS[kind]["metadata"]["name"] == f"{names['plural']}.recoup.dev"
    assert (crd["group"], names["listKind"], names["categories"]) == ("recoup.dev", f"{kind}List", ["recoup"])
    assert crd["scope"] == ("Cluster" if kind == "BackupLocation" else "Namespaced")
    assert len(names["shortNames"]) == 1
    assert version(kind)["subresources"] == {"status": {}}
    assert [column["name"] for column in version(kind)["additionalPrinterColumns"]].count("Ready") == 1
    assert version(kind)["schema"]["openAPIV3Schema"]["required"] == ["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_shows_a_field(kind: str) -> None:
    root = version(kind)["schema"]["openAPIV3Schema"]
    for column in version(kind)["additionalPrinterColumns"]:
        path = column["jsonPath"].split("[?(@.type==")[0].removeprefix(".")
        if path.startswith("metadata."):
            continue
        node = root
        for part in path.split("."):
            name, _, index = part.partition("[")
            node = node["properties"][name]
            node = node["items"] if index else node
        if "?(@.type==" in column["jsonPath"]:
            assert column["jsonPath"].rsplit(".", 1)[1] in node["items"]["properties"]
        elif column["type"] == "date":
            assert node["format"] == "date-time"
        elif column["type"] == "integer":
            assert node["type"] == "integer"
        else:
            assert node["type"] == "string"


@pytest.mark.parametrize(("path", "node"), list(every_field()), ids=[path for path, _ in every_field()])
def test_every_field_is_described_and_bounded(path: str, node: Schema) -> None:
    assert "x-kubernetes-preserve-unknown-fields" not in node
    if not path.endswith(("[]", "{}")) or node.get("type") == "object":
        assert node["description"][0].isupper() or node["description"].startswith("{}")
        assert node["description"].endswith(".")
    match node.get("type"):
        case "object":
            if "additionalProperties" in node:
                assert node["maxProperties"] <= 128
            else:
                assert node["properties"]
        case "array":
            assert node["maxItems"] <= backuplocation.MAX_VAULTS
            assert node["x-kubernetes-list-type"] in ("atomic", "set", "map")
            assert (node["x-kubernetes-list-type"] == "map") is ("x-kubernetes-list-map-keys" in node)
        case "string":
            assert "enum" in node or "maxLength" in node or node.get("format") == "date-time"
        case None:
            assert node["x-kubernetes-int-or-string"]
            assert node["maxLength"]
            assert node["pattern"]


@pytest.mark.parametrize(("path", "node"), list(every_field()), ids=[path for path, _ in every_field()])
def test_rules_have_messages_for_people(path: str, node: Schema) -> None:
    for rule in node.get("x-kubernetes-validations", []):
        assert len(rule["message"]) > 10, path


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_those_of_kstatus(kind: str) -> None:
    found = schema(kind, "status")["properties"]["conditions"]
    assert (found["x-kubernetes-list-type"], found["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert found["items"]["properties"]["message"]["maxLength"] == conditions.MESSAGE_LIMIT
    assert set(found["items"]["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}
    for word in ("Ready", "Reconciling", "Stalled"):
        assert word in found["description"]


def test_bounds_that_the_code_knows() -> None:
    assert schema("BackupPolicy", "status")["properties"]["lastRuns"]["maxItems"] == backuppolicy.MAX_RUNS
    assert schema("BackupLocation", "status")["properties"]["vaults"]["maxItems"] == backuplocation.MAX_VAULTS
    for kind, field, limit in (
        ("BackupPolicy", "lastRuns", backuppolicy.RUN_MESSAGE_LIMIT),
        ("BackupSnapshot", "volumes", objects.VOLUME_MESSAGE_LIMIT),
        ("RestoreRequest", "volumes", objects.VOLUME_MESSAGE_LIMIT),
    ):
        assert schema(kind, "status")["properties"][field]["items"]["properties"]["message"]["maxLength"] == limit


def test_there_is_one_pattern_for_durations() -> None:
    schedule = schema("BackupPolicy", "spec")["properties"]["schedule"]["properties"]
    for name in ("every", "jitter", "startingDeadline"):
        assert f"self.matches('{durations.PATTERN}')" in [rule["rule"] for rule in schedule[name]["x-kubernetes-validations"]]


@pytest.mark.parametrize(("kind", "side"), SIDES)
def test_types_and_yaml_agree(kind: str, side: str) -> None:
    compare(KINDS[kind][side == "status"], schema(kind, side), f"{kind}.{side}", defaults=side == "spec")


def compare(struct: type[msgspec.Struct], node: Schema, path: str, *, defaults: bool) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert set(fields) == set(node["properties"]), path
    assert {name for name, field in fields.items() if field.required} == set(node.get("required", [])), path
    hints = get_type_hints(struct)
    for name, field in fields.items():
        child = node["properties"][name]
        if defaults and not field.required:
            compare_default(field, child, f"{path}.{name}")
        else:
            assert "default" not in child, f"{path}.{name}"
        compare_type(hints[field.name], child, f"{path}.{name}", defaults=defaults)


def compare_default(field: msgspec.structs.FieldInfo, child: Schema, path: str) -> None:
    """A default in the type stands in the schema, where users see it; "nothing" needs no default."""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    plain = msgspec.to_builtins(value)
    if plain is None or plain in ((), {}):
        assert child.get("default", {}) == {}, path
        if isinstance(value, msgspec.Struct) and struct_has_defaults(value):
            assert child["default"] == {}, f"{path}: defaults below it would not be filled in"
    else:
        assert child.get("default") == plain, path


def struct_has_defaults(value: msgspec.Struct) -> bool:
    return any(field.default not in (msgspec.NODEFAULT, None, ()) for field in msgspec.structs.fields(type(value)))


def compare_type(hint: Any, child: Schema, path: str, *, defaults: bool) -> None:
    choices = [choice for choice in get_args(hint) if choice is not type(None)] if get_origin(hint) in (Union, UnionType) else [hint]
    if set(choices) == {str, int}:
        assert child.get("x-kubernetes-int-or-string"), path
        return
    (choice,) = choices
    if get_origin(choice) is tuple:
        assert child["type"] == "array", path
        compare_type(get_args(choice)[0], child["items"], f"{path}[]", defaults=defaults)
    elif get_origin(choice) is dict:
        assert child["type"] == "object", path
        compare_type(get_args(choice)[1], child["additionalProperties"], f"{path}{{}}", defaults=defaults)
    elif issubclass(choice, msgspec.Struct):
        compare(choice, child, path, defaults=defaults)
    elif issubclass(choice, enum.Enum):
        assert child["enum"] == [member.value for member in choice], path
    elif choice is datetime:
        assert (child["type"], child["format"]) == ("string", "date-time"), path
    else:
        assert child["type"] == {str: "string", int: "integer", bool: "boolean"}[choice], path
        assert "enum" not in child or len(child["enum"]) == 1, f"{path} is an enum in the YAML only"
