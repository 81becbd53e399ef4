"""Where the local cluster keeps things: built programs (a cache), running clusters (state), sources of both.

Only paths and their reasons; nothing here creates or deletes. See docs/contributing/cluster.md for the table.
"""

import os
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
CHECKOUT = SOURCES.parent.parent
GO_MODULES = SOURCES / "programs"


CLUSTERS = Path("/var/lib/recoup-clusters")
"""One folder per running cluster. Machine-wide and not to be changed, because its networks and cgroups are; short, because
the paths of sockets are bounded."""

SESSIONS = Path("/var/lib/recoup-sessions")
"""Locks of running test sessions, machine-wide as well: their names are names of clusters."""


def cache() -> Path:
    """Programs, wheels and images that any run may re-use; safe to delete when nothing runs."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RECOUP_CACHE") or Path(user) / "recoup")
