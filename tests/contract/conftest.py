"""`crd_server`: a real API server on which the CRDs are installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.programs import program
from tests.contract.api_server import ApiServer, api_server, wait_for

ROOT = Path(__file__).parents[2]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture(scope="session")
def crd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api-server")) as server:
        names = [install(server, path) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        wait_for(lambda: all(established(server, name) for name in names), "the CRDs to be established")
        for name in ("shop", "shop-recovered"):
            assert server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).status == 201
        yield server


def install(server: ApiServer, path: Path) -> str:
    """Create a CRD as strictly as the server can; its schema, its rules and their cost are judged here."""
    crd = yaml.safe_load(path.read_text())
    answer = server.request("POST", f"{DEFINITIONS}?fieldValidation=Strict", crd)
    assert answer.status == 201, answer.message
    return str(crd["metadata"]["name"])


def established(server: ApiServer, name: str) -> bool:
    conditions = server.request("GET", f"{DEFINITIONS}/{name}").body.get("status", {}).get("conditions", [])
    assert not [entry for entry in conditions if entry["type"] == "NonStructuralSchema" and entry["status"] == "True"]
    return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the server before the first test: visibly, and not within a test's time limit."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    if "crd_server" in wanted and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            program("kube-apiserver")
