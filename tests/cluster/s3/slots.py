"""Who uses which folder, port or network number on this machine: claims that die with their owner.

A slot is a folder whose `lock` file its owner keeps locked. The kernel drops that lock when the owner dies, however it
dies, so the next run recognises what is left over and cleans it. Only bookkeeping here; see network.py and servers.py.
"""

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from select import select

from tests.cluster.s3 import network
from tests.cluster.trouble import Trouble

SERVERS = ("minio", "versitygw")
NETWORKS = range(1, 251)
STOP_SECONDS = 5.0


def root() -> Path:
    """All slots of this user on this machine. One place per machine, because the networks are per machine."""
    given = os.environ.get("RECOUP_S3_STATE")
    if given:
        return Path(given)
    return Path("/var/lib/recoup-s3") if os.geteuid() == 0 else Path(tempfile.gettempdir()) / f"recoup-s3-{os.getuid()}"


@dataclass(frozen=True)
class Slot:
    """A claimed folder; `network` is its number when it has a network of its own."""

    folder: Path
    network: int | None
    lock: int
    """File descriptor. Whoever holds it open (the claimant, or a server that outlives it) owns the slot."""


def claim(*, networked: bool) -> Slot:
    """Take a fresh, empty slot, after cleaning what dead owners left. Raise Trouble if every network is in use."""
    with _allocating() as slots:
        sweep(slots)
        if not networked:
            return _take(slots / f"loop-{secrets.token_hex(4)}", None)
        for number in NETWORKS:
            folder = slots / f"net-{number}"
            if not folder.exists() and not network.exists(number):
                return _take(folder, number)
    raise Trouble("all networks 10.96.1.0 to 10.96.250.0 are in use", step="stop some: python -m tests.cluster.s3 stop --help")


def release(slot: Slot) -> None:
    """Stop the slot's servers and remove everything it had."""
    clean(slot.folder)
    os.close(slot.lock)


def clean(folder: Path) -> None:
    """Remove all that belongs to a slot's folder, whoever started it: processes, network, files. Idempotent."""
    stop_processes(folder)
    if folder.name.startswith("net-"):
        network.remove(int(folder.name.removeprefix("net-")))
    shutil.rmtree(folder, ignore_errors=True)


def sweep(slots: Path) -> list[Path]:
    """Clean the slots whose owner is dead; return them."""
    dead = [folder for folder in sorted(slots.iterdir()) if folder.is_dir() and not _owned(folder)]
    for folder in dead:
        clean(folder)
    return dead


def processes(folder: Path) -> list[int]:
    """The pids of the S3 servers whose data lies in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            program = entry.joinpath("exe").readlink().name
            arguments = entry.joinpath("cmdline").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile, or another user's
            continue
        if program in SERVERS and any(argument.startswith(bytes(folder) + b"/") for argument in arguments):
            found.append(int(entry.name))
    return found


def stop_processes(folder: Path) -> None:
    """Terminate the folder's servers, by force after a while; return when they are gone."""
    for pid in processes(folder):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if select([handle], [], [], STOP_SECONDS)[0]:
                    break
        except ProcessLookupError:
            continue
        finally:
            os.close(handle)


@contextmanager
def _allocating() -> Iterator[Path]:
    """Only one run at a time creates or sweeps slots: a slot half made must not look abandoned."""
    slots = root()
    slots.mkdir(mode=0o700, parents=True, exist_ok=True)
    if slots.stat().st_uid != os.geteuid():
        raise Trouble(f"{slots} belongs to another user", step="set RECOUP_S3_STATE to a folder of your own")
    with (slots / "allocate.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield slots


def _take(folder: Path, number: int | None) -> Slot:
    folder.mkdir(mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Slot(folder, number, lock)


def _owned(folder: Path) -> bool:
    try:
        handle = os.open(folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
