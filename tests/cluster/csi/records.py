"""What the driver remembers of each volume and snapshot: one JSON file beside the data, written whole or not at all."""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

Mode = Literal["Filesystem", "Block"]
IDENTITY = re.compile(r"(vol|snap)-[0-9a-f]{24}")


class Volume(msgspec.Struct, frozen=True):
    """`capacity` in bytes. `source` is the id of the snapshot or volume it was made from."""

    id: str
    name: str
    capacity: int
    mode: Mode
    zone: str
    source: str | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """`created` in nanoseconds since the epoch. One that is not `ready` never will be: a class of tests asks for it."""

    id: str
    name: str
    volume: str
    capacity: int
    mode: Mode
    created: int
    ready: bool = True


Record = TypeVar("Record", Volume, Snapshot)


def identify(kind: Literal["vol", "snap"], name: str) -> str:
    """The id of what has this name: so that a repeated request finds what the first one made."""
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:24]}"


def load(kind: type[Record], folder: Path) -> Record | None:
    """The record in this folder, or None."""
    try:
        return msgspec.json.decode((folder / "record.json").read_bytes(), type=kind)
    except FileNotFoundError:
        return None


def save(record: Volume | Snapshot, folder: Path) -> None:
    aside = folder / "record.new"
    with aside.open("wb") as output:
        output.write(msgspec.json.encode(record))
        output.flush()
        os.fsync(output.fileno())
    aside.replace(folder / "record.json")


def forget(folder: Path) -> None:
    (folder / "record.json").unlink(missing_ok=True)
