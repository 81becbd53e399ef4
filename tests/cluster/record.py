"""What is known of each cluster on this machine: one folder `NAME/` with `cluster.json`, under one lock for changes.

A record tells name, number, and who owns the cluster: nobody (made by hand, stays) or a process (a test session; when it
is dead, the cluster is stale and the next `create` removes it). Nothing here starts or stops anything.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import cgroups, network, places
from tests.cluster.processes import started_at
from tests.cluster.trouble import Trouble

OWNER_VARIABLE = "RECOUP_CLUSTER_OWNER"
"""Set to a pid: the cluster made under it is stale as soon as that process is gone."""


@dataclass(frozen=True)
class Record:
    """The lasting facts of one cluster."""

    name: str
    number: int
    ready: bool
    """False while it is being made: a record found so without its maker is what a crash left."""
    maker: tuple[int, int]
    """(pid, start time in clock ticks) of the program that makes it."""
    owner: tuple[int, int] | None

    @property
    def folder(self) -> Path:
        return folder_of(self.name)

    @property
    def addresses(self) -> network.Addresses:
        return network.Addresses(self.number)

    def is_stale(self) -> bool:
        """Whether nobody wants it any more: its owner is dead, or its maker died before it was ready."""
        holder = self.owner if self.ready else self.maker
        return holder is not None and started_at(holder[0]) != holder[1]


def folder_of(name: str) -> Path:
    return places.CLUSTERS / name


def check_name(name: str) -> None:
    """Raise Trouble unless the name can be part of host names, cgroups and paths."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?", name):
        raise Trouble(f"cluster name {name!r} is not usable: at most 30 of a-z, 0-9 and '-', beginning and ending with a letter or digit")


def load(name: str) -> Record | None:
    try:
        raw = json.loads((folder_of(name) / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, NotADirectoryError):
        return None
    owner = raw["owner"]
    return Record(raw["name"], raw["number"], raw["ready"], tuple(raw["maker"]), tuple(owner) if owner else None)


def save(record: Record) -> None:
    record.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    aside = record.folder / ".cluster.json"
    aside.write_text(json.dumps(asdict(record)))
    aside.rename(record.folder / "cluster.json")


def forget(name: str) -> None:
    """Take the record away, before the rest of the folder: what is being removed must not look like a cluster."""
    (folder_of(name) / "cluster.json").unlink(missing_ok=True)


def every_name() -> list[str]:
    """Every name of which anything is left: a folder or a cgroup tree."""
    root = places.CLUSTERS
    folders = [entry.name for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
    return sorted({*folders, *cgroups.names()})


def claim(name: str) -> Record:
    """Give the name a free number and note who makes and owns it. The caller holds `changing()`."""
    taken = {record.number for other in every_name() if (record := load(other))}
    for number in network.NUMBERS:
        if number not in taken and network.is_free(network.Addresses(number)):
            record = Record(name, number, ready=False, maker=_identity(os.getpid()), owner=_owner())
            save(record)
            return record
    raise Trouble("every cluster network of this machine is in use", step="delete some: tests/cluster/kind get clusters")


@contextmanager
def changing() -> Iterator[None]:
    """Only one program at a time claims or removes: a cluster half made must not look abandoned, nor a number be given twice."""
    root = places.CLUSTERS
    try:
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = (root / ".lock").open("w")
    except PermissionError as error:
        raise Trouble(f"{root} cannot be written: a cluster needs network and mount namespaces, hence root", step="run as root") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _owner() -> tuple[int, int] | None:
    given = os.environ.get(OWNER_VARIABLE)
    if given and not given.isdecimal():
        raise Trouble(f"{OWNER_VARIABLE}={given} is not the number of a process")
    return _identity(int(given)) if given else None


def _identity(pid: int) -> tuple[int, int]:
    started = started_at(pid)
    if started is None:
        raise Trouble(f"no process {pid}, named by {OWNER_VARIABLE}")
    return pid, started
