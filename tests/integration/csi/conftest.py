from collections.abc import Iterator

import pytest

from tests.integration.csi.driver_process import DriverProcess


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverProcess]:
    """A driver of its own per module, in a mount namespace of its own; nothing of it is left afterwards. Needs root."""
    with DriverProcess(tmp_path_factory.mktemp("csi")) as running:
        yield running
