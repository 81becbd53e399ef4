"""The driver as a process in a mount namespace of its own, as on a node but without Kubernetes."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from tests.cluster import loops
from tests.cluster.csi import stubs
from tests.cluster.csi.launch import driver_command, driver_environment, socket_of

ANSWER_SECONDS = 20


class DriverProcess:
    """A running driver. The namespace lives in a process of its own, so that the driver can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.log = folder / "driver.log"
        self.state.mkdir()
        self._holder: subprocess.Popen[bytes] | None = None
        self._driver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "mount --make-rshared / && echo ready && exec cat"]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n"
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        assert self._holder
        self._holder.communicate()
        loops.detach(self.state)
        shutil.rmtree(self.state)

    def inside(self, *command: str) -> list[str]:
        """The command, entering the driver's namespace."""
        assert self._holder
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *command]

    def run(self, *command: str) -> str:
        """Run a program in the driver's namespace to its end."""
        return subprocess.run(self.inside(*command), check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        """Start the driver; return when it answers."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **driver_environment()}
        with self.log.open("ab") as log:
            self._driver = subprocess.Popen(
                self.inside(*driver_command(self.state, node="node-1")), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for driver in ("csi.recoup.test", "nosnap.csi.recoup.test"):
            with self.channel(driver) as channel:
                try:
                    grpc.channel_ready_future(channel).result(ANSWER_SECONDS)
                except grpc.FutureTimeoutError:
                    raise AssertionError(f"the driver does not answer:\n{self.log.read_text()}") from None

    def kill(self) -> None:
        """End the driver as a crash does."""
        assert self._driver
        self._driver.kill()
        self._driver.wait()

    def channel(self, driver: str) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{socket_of(self.state, driver)}")


def generated(name: str) -> Any:
    """One of the generated modules."""
    folder = str(stubs.folder())
    if folder not in sys.path:
        sys.path.append(folder)
    return __import__(name)
