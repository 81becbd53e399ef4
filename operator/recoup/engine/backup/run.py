"""What a run is told: whose data, for which slot of which policy (the run file that the controller writes), or by the command line."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.format.records import MALFORMED
from recoup.engine.keys.tickets import ticket_from_text
from recoup.engine.records.manifest import Source
from recoup.errors import Invalid, NotFound

_MAX_RUN_FILE = 256 << 10


class RunSource(msgspec.Struct, frozen=True, rename="camel"):
    """The volume as the cluster knows it."""

    cluster_uid: str = ""
    namespace: str = ""
    namespace_uid: str = ""
    persistent_volume_claim: str = ""
    persistent_volume_claim_uid: str = ""
    storage_class_name: str = ""
    access_modes: tuple[str, ...] = ()
    volume_mode: str = ""
    size: str = ""
    labels: dict[str, str] = {}
    node_affinity: msgspec.Raw = msgspec.Raw(b"null")


class RunFile(msgspec.Struct, frozen=True, rename="camel"):
    """One run of one volume, as --run FILE gives it (JSON)."""

    session: str
    ticket: str = ""
    policy_uid: str = ""
    policy: str = ""
    slot: str = ""
    snapshot_uid: str = ""
    snapshot: str = ""
    volumes_expected: tuple[str, ...] = ()
    consistency: str = "CrashConsistent"
    captured_at: int = 0
    """Nanoseconds since 1970 at which the volume snapshot was taken, by the storage's clock; 0 if unknown."""
    source: RunSource = RunSource()

    @property
    def session_id(self) -> bytes:
        return bytes.fromhex(self.session)

    @property
    def ticket_bytes(self) -> bytes:
        return ticket_from_text(self.ticket) if self.ticket else b""


def read_run_file(path: str) -> RunFile:
    """Raises NotFound, Invalid naming the file and what is wrong in it."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"the run file {path} does not exist") from None
    except OSError as error:
        raise Invalid(f"the run file {path} cannot be read: {error.strerror}") from None
    try:
        run = msgspec.json.decode(data[:_MAX_RUN_FILE], type=RunFile)
        session = run.session_id
        msgspec.json.decode(run.source.node_affinity)  # left as it is until the manifest: what can't be read then is refused now
    except MALFORMED as error:
        raise Invalid(f"the run file {path} is not well-formed: {error}", reason="InvalidRunFile") from None
    if len(session) != ID_BYTES:
        raise Invalid(f"the run file {path} is not well-formed: session has not {2 * ID_BYTES} hex digits", reason="InvalidRunFile")
    return run


def manifest_source(run: RunFile | None, path: str) -> Source:
    """Whose data it is, for the manifest."""
    if run is None:
        return Source(path=path, host=os.uname().nodename)
    fields = {name: getattr(run.source, name) for name in RunSource.__struct_fields__ if name != "node_affinity"}
    affinity = msgspec.json.decode(run.source.node_affinity)
    return Source(**fields, node_affinity=msgspec.Raw(msgspec.msgpack.encode(affinity)), path=path)


def record_source(run: RunFile | None, path: str) -> str:
    """The same for the catalogue record: JSON, as the run file or the command line gave it."""
    source: object = run.source if run is not None else {"path": path, "host": os.uname().nodename}
    return msgspec.json.encode(source).decode()
