"""What users meet: every example is taken by a real API server, every mistake is refused in words that say what to write instead.

A case that is not refused, or in other words, fails; so does a valid example that is.
"""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoup.api import backuplocation, backuppolicy, backupsnapshot, restorerequest
from recoup.api.objects import decode
from tests.contract.api_server import Answer, ApiServer

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Object = dict[str, Any]
PLURALS = {
    "BackupLocation": "backuplocations",
    "BackupPolicy": "backuppolicies",
    "BackupSnapshot": "backupsnapshots",
    "RestoreRequest": "restorerequests",
}
TYPES: dict[str, Any] = {
    "BackupLocation": backuplocation.BackupLocation,
    "BackupPolicy": backuppolicy.BackupPolicy,
    "BackupSnapshot": backupsnapshot.BackupSnapshot,
    "RestoreRequest": restorerequest.RestoreRequest,
}
STRICT = "fieldValidation=Strict"


def documents(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


VALID = {path.stem: documents(path) for path in sorted((HERE / "valid").glob("*.yaml"))}
CASES: dict[str, Object] = {path.stem: documents(path)[0] for path in sorted((HERE / "invalid").glob("*.yaml"))}


def cases(what: str) -> list[Any]:
    return [pytest.param(stem, case, id=f"{stem}: {case['case']}") for stem, found in CASES.items() for case in found[what]]


def path_of(example: Object, *, named: bool = False) -> str:
    namespace = example["metadata"].get("namespace")
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/recoup.dev/v1alpha1{where}/{PLURALS[example['kind']]}" + (f"/{example['metadata']['name']}" if named else "")


def create(server: ApiServer, example: Object, *, keep: bool = False) -> Answer:
    return server.request("POST", f"{path_of(example)}?{STRICT}{'' if keep else '&dryRun=All'}", example)


def edit(server: ApiServer, example: Object, change: Object) -> Answer:
    path = f"{path_of(example, named=True)}?{STRICT}"
    return server.request("PATCH", path, change, content_type="application/merge-patch+json")


def merged(example: Object, change: Object) -> Object:
    """RFC 7396."""
    result = copy.deepcopy(example)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@pytest.fixture
def kept(crd_server: ApiServer, request: pytest.FixtureRequest) -> Object:
    """The first valid example of the case's kind, created under a name of its own."""
    example = copy.deepcopy(VALID[request.node.callspec.params["stem"]][0])
    example["metadata"]["name"] = "case-" + re.sub("[^a-z0-9]+", "-", request.node.callspec.id.lower())[:50].strip("-")
    answer = create(crd_server, example, keep=True)
    assert answer.status == 201, answer.message
    request.addfinalizer(lambda: crd_server.request("DELETE", path_of(example, named=True)))  # noqa: PT021 - the fixture returns data
    return example


@pytest.mark.parametrize(
    "example", [pytest.param(each, id=f"{stem}: {each['metadata']['name']}") for stem, all_ in VALID.items() for each in all_]
)
def test_an_example_is_taken_and_understood(crd_server: ApiServer, example: Object) -> None:
    answer = create(crd_server, example)
    assert answer.status == 201, answer.message
    assert decode(TYPES[example["kind"]], answer.body).metadata.name == example["metadata"]["name"]


def written_examples() -> list[Any]:
    """Manifests in the docs: files of docs/examples, and fenced YAML in every page."""
    found: list[tuple[str, str]] = [(path.name, path.read_text()) for path in sorted((ROOT / "docs" / "examples").glob("*.yaml"))]
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        found += [(page.name, block) for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)]
    values = {"${ENDPOINT}": "https://minio.example.org:9000", "${RECIPIENT}": "recouprecipient1" + "q" * 58}
    examples = []
    for name, text in found:
        for variable, value in values.items():
            text = text.replace(variable, value)  # noqa: PLW2901 - step by step
        examples += [
            pytest.param(document, id=f"{name}: {document['kind']} {document['metadata']['name']}")
            for document in yaml.safe_load_all(text)
            if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith("recoup.dev/")
        ]
    return examples


@pytest.mark.parametrize("example", written_examples())
def test_an_example_in_the_docs_is_taken(crd_server: ApiServer, example: Object) -> None:
    namespace = example["metadata"].get("namespace")
    if namespace:
        crd_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    answer = create(crd_server, example)
    assert answer.status == 201, answer.message


@pytest.mark.parametrize(("stem", "case"), cases("create"))
def test_a_mistake_is_refused_in_plain_words(crd_server: ApiServer, stem: str, case: Object) -> None:
    answer = create(crd_server, merged(VALID[stem][0], case["change"]))
    assert answer.status in (400, 422), "it was taken"
    assert case["message"] in answer.message


@pytest.mark.parametrize(("stem", "case"), cases("edit"))
def test_an_edit_that_may_not_be_is_refused_in_plain_words(crd_server: ApiServer, stem: str, case: Object, kept: Object) -> None:
    if "first" in case:
        assert edit(crd_server, kept, case["first"]).status == 200
    answer = edit(crd_server, kept, case["change"])
    assert answer.status == 422, "it was taken"
    assert case["message"] in answer.message


@pytest.mark.parametrize(
    ("stem", "change"),
    [pytest.param(stem, change, id=f"{stem}: {number}") for stem, found in CASES.items() for number, change in enumerate(found["allowed"])],
)
def test_an_edit_that_may_be_is_taken(crd_server: ApiServer, stem: str, change: Object, kept: Object) -> None:
    answer = edit(crd_server, kept, change)
    assert answer.status == 200, answer.message


def test_defaults_are_shown_to_the_user(crd_server: ApiServer) -> None:
    location = create(crd_server, VALID["backuplocation"][1]).body["spec"]
    assert location["s3"] | {"region": "us-east-1", "prefix": "", "forcePathStyle": False} == location["s3"]
    assert location["allowedNamespaces"] == {}
    policy = create(crd_server, VALID["backuppolicy"][2]).body["spec"]
    assert policy["schedule"] == {"every": "15m", "timeZone": "UTC", "runOnCreate": False}
    assert (policy["suspend"], policy["capture"], policy["mover"]) == (False, {"method": "Snapshot"}, {"resources": {}})
    assert create(crd_server, VALID["backupsnapshot"][0]).body["spec"] == {
        "policyRef": {"name": "shop"},
        "trigger": "Manual",
        "cancel": False,
        "pin": False,
    }


def test_a_status_is_applied_by_field_manager_and_conditions_merge_by_type(crd_server: ApiServer) -> None:
    """What controller/apply.py rests on: our full set each time, what is left out goes, and nothing but the status changes."""
    example = copy.deepcopy(VALID["backuppolicy"][1])
    example["metadata"]["name"] = "applied"
    made = create(crd_server, example, keep=True).body
    condition = {"status": "True", "reason": "Fine", "message": "", "lastTransitionTime": "2026-11-01T12:00:00Z"}
    first = {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", **condition}, {"type": "Reconciling", **condition}],
        "schedule": "on demand",
    }
    assert apply_status(crd_server, made, first) == first
    second = {"observedGeneration": 1, "conditions": [{"type": "Ready", **condition}]}
    assert apply_status(crd_server, made, second) == second
    spec = crd_server.request("GET", path_of(example, named=True)).body["spec"]
    assert spec == made["spec"]
    crd_server.request("DELETE", path_of(example, named=True))


def apply_status(server: ApiServer, made: Object, status: Object) -> Object:
    body = {key: made[key] for key in ("apiVersion", "kind")} | {"status": status}
    body["metadata"] = {"name": made["metadata"]["name"], "namespace": made["metadata"].get("namespace"), "uid": made["metadata"]["uid"]}
    path = f"{path_of(made, named=True)}/status?fieldManager=recoup&force=true&{STRICT}"
    answer = server.request("PATCH", path, body, content_type="application/apply-patch+yaml")
    assert answer.status == 200, answer.message
    found: Object = answer.body["status"]
    return found


COLUMNS = [
    ("backuplocation", "Provider Region Reachable Conformant Keys Vaults Ready Age Reason Bucket"),
    ("backuppolicy", "Schedule Volumes LastGood Copies RPO Next Ready Age Verified Home Reason Message"),
    ("backupsnapshot", "Policy Taken Volumes Size Stored Copies From Verified KeptBy Ready Reason Took Location Message"),
    ("restorerequest", "Source From Volumes Progress Rate ETA Holds Ready Reason Age Took Message"),
]


@pytest.mark.parametrize(("stem", "columns"), COLUMNS)
def test_a_list_answers_whether_it_is_fine(crd_server: ApiServer, stem: str, columns: str, kept: Object) -> None:
    table = crd_server.request("GET", path_of(kept), accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    assert [column["name"].replace(" ", "") for column in table["columnDefinitions"]] == ["Name", *columns.split()]
    assert any(row["cells"][0] == kept["metadata"]["name"] for row in table["rows"])


def test_the_cells_of_a_list_are_filled_from_the_status(crd_server: ApiServer) -> None:
    example = copy.deepcopy(VALID["backuplocation"][0])
    example["metadata"]["name"] = "shown"
    made = create(crd_server, example, keep=True).body
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-01T12:00:00Z"}
        for kind, status, reason in (
            ("Ready", "False", "NotAtomic"),
            ("Reachable", "True", "Answers"),
            ("Conformant", "False", "NotAtomic"),
        )
    ]
    apply_status(crd_server, made, {"conditions": conditions, "keyCount": 2, "vaultCount": 14})
    table = crd_server.request("GET", path_of(example), accept="application/json;as=Table;v=v1;g=meta.k8s.io").body
    (cells,) = [row["cells"] for row in table["rows"] if row["cells"][0] == "shown"]
    assert cells[1:8] == ["aws", "eu-central-1", "True", "NotAtomic", 2, 14, "False"]
    crd_server.request("DELETE", path_of(example, named=True))


def full(node: Object, number: int) -> Any:
    """A value that is as large as its schema allows, and that differs by number where a list wants it to."""
    if "enum" in node:
        return max(node["enum"], key=len)
    match node.get("type"):
        case "string" if node.get("format") == "date-time":
            return f"2026-11-01T12:{number % 60:02}:00Z"
        case "string":
            return f"{number:a>{node['maxLength']}}"
        case "boolean":
            return True
        case "integer":
            return 2**53
        case "array":
            keys = node.get("x-kubernetes-list-map-keys") or node["x-kubernetes-list-type"] == "set"
            count = len(node["items"].get("enum", ())) or node["maxItems"]
            return [full(node["items"], each if keys else 0) for each in range(count)]
        case "object" if "properties" in node:
            return {name: full(child, number) for name, child in node["properties"].items()}
        case _:
            return {}


@pytest.mark.parametrize(
    ("stem", "field"),
    [("backuplocation", "vaults"), ("backuppolicy", "lastRuns"), ("backupsnapshot", "volumes"), ("restorerequest", "volumes")],
)
def test_the_largest_list_that_a_schema_allows_fits(crd_server: ApiServer, stem: str, field: str) -> None:
    """Bounds are no promise if the API server refuses what keeps within them."""
    example = copy.deepcopy(VALID[stem][0])
    example["metadata"]["name"] = f"full-{stem}"
    crd = yaml.safe_load((ROOT / "crds" / f"{PLURALS[example['kind']]}.yaml").read_text())
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    made = create(crd_server, example, keep=True).body
    wanted = {field: full(status["properties"][field], 0)}
    assert apply_status(crd_server, made, wanted) == wanted
    crd_server.request("DELETE", path_of(example, named=True))
