"""What pytest needs to use pytest-kind's `kind_cluster` unchanged: which `kind` and kubectl, a name per session, early builds.

Imported by tests/conftest.py. A real `kind` with a working Docker is preferred (or the one that KIND_BIN names);
otherwise the local cluster. A session's cluster is stale once the session is dead, however it died.
"""

import fcntl
import os
import shutil
import subprocess
from typing import TextIO

import pytest
from pytest_kind import KindCluster

from tests.cluster import images, lifecycle, places, programs
from tests.cluster.node import Node
from tests.cluster.record import OWNER_VARIABLE

OURS = places.SOURCES / "kind"
DEFAULT_NAME = "pytest-kind"
SESSIONS = range(100)
_session_lock = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    """Fill in the options of pytest-kind that the user did not give."""
    options = config.option
    if options.kind_bin is None:
        options.kind_bin = _kind()
    if options.cluster_name == DEFAULT_NAME and not options.keep_cluster:
        options.cluster_name, config.stash[_session_lock] = _session_name()
    if not options.keep_cluster:
        os.environ[OWNER_VARIABLE] = str(os.getpid())


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the chosen tests need before the first of them: visibly, and not within a test's time limit."""
    wanted = {name for item in session.items if isinstance(item, pytest.Function) for name in item.fixturenames}
    if session.config.option.collectonly or "kind_cluster" not in wanted:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        if session.config.option.kind_kubectl_bin is None:
            session.config.option.kind_kubectl_bin = shutil.which("kubectl") if _is_real(session.config) else None
            session.config.option.kind_kubectl_bin = session.config.option.kind_kubectl_bin or str(programs.program("kubectl"))
        if not _is_real(session.config):
            lifecycle.prepare()
            if "product_image" in wanted:
                images.archive(images.PRODUCT)


@pytest.fixture(scope="session")
def cluster_node(kind_cluster: KindCluster, request: pytest.FixtureRequest) -> Node:
    """The node under `kind_cluster`, for tests that stop its programs or look into its namespaces."""
    if _is_real(request.config):
        pytest.skip("needs the local cluster of tests/cluster: a node of real kind can't be taken apart this way")
    return lifecycle.find(kind_cluster.name)


@pytest.fixture(scope="session")
def product_image(kind_cluster: KindCluster) -> str:
    """The tag of the product's image, loaded into `kind_cluster`."""
    kind_cluster.load_docker_image(images.PRODUCT)
    return images.PRODUCT


def _kind() -> str:
    if given := os.environ.get("KIND_BIN"):
        return given
    found = shutil.which("kind")
    if found and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        return found
    return str(OURS)


def _is_real(config: pytest.Config) -> bool:
    return bool(config.option.kind_bin != str(OURS))


def _session_name() -> tuple[str, TextIO]:
    """The first `pytest-N` that no other session on this machine uses, and the lock that says so.

    Only root makes local clusters; others (with real kind) have their own Docker and need no agreement with them.
    """
    folder = places.SESSIONS if os.geteuid() == 0 else places.cache() / "sessions"
    folder.mkdir(parents=True, exist_ok=True)
    for number in SESSIONS:
        handle = (folder / f"pytest-{number}.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
        else:
            return f"pytest-{number}", handle
    raise pytest.UsageError(f"more than {len(SESSIONS)} test sessions at once: see {folder}")
