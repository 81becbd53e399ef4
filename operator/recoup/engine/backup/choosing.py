"""Which session a run is: given by its run file, or found so that a re-run after a crash goes on with the session that crashed.

Without a run file the id follows from the volume and its newest recovery point: until there is a newer one, every attempt has the same
id. That is only good for attempts one after the other. While one lives, the kernel keeps its name (an abstract socket, gone with the
process), and another takes a random id.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from blake3 import blake3

from recoup.engine.backup.parent import newest_point
from recoup.engine.backup.run import RunFile, record_source
from recoup.engine.format.kinds import ID_BYTES
from recoup.engine.keys.roles import WriterKeys
from recoup.engine.log.state import LogState


@contextmanager
def choose_session(state: LogState, keys: WriterKeys, run: RunFile | None, path: str) -> Iterator[bytes]:
    """The session's id; within the context no other run of this volume on this machine gets the same by itself."""
    if run is not None:
        yield run.session_id
        return
    session = _session_of(state, keys, path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as name:
        try:
            name.bind(b"\0recoup-backup-" + session.hex().encode())
        except OSError:
            session = os.urandom(ID_BYTES)
        yield session


def _session_of(state: LogState, keys: WriterKeys, path: str) -> bytes:
    """The first session after the volume's newest point that has no COMMIT yet: a newest point may be a former one, after a FORGET."""
    source = record_source(None, path)
    newest = newest_point(state, keys, pvc_uid="", source=source)
    hasher = blake3(source.encode(), key=keys.path_key)
    hasher.update(newest.manifest if newest is not None else b"")
    number = 0
    while True:
        attempt = hasher.copy()
        attempt.update(number.to_bytes(8, "big"))
        session = attempt.digest(ID_BYTES)
        known = state.sessions.get(session)
        if known is None or known.committed is None:
            return session
        number += 1
