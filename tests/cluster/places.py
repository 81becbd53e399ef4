"""Where the local cluster keeps things: built programs (a cache), running clusters (state), sources of both.

Only paths and their reasons; nothing here creates or deletes. See docs/contributing/cluster.md for the table.
"""

import os
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
CHECKOUT = SOURCES.parent.parent
GO_MODULES = SOURCES / "programs"


def cache() -> Path:
    """Programs, wheels and images that any run may re-use; safe to delete when nothing runs."""
    return Path(os.environ.get("RECOUP_CACHE") or Path.home() / ".cache" / "recoup")


def clusters() -> Path:
    """One folder per running cluster. Machine-wide, because its networks and cgroups are; short, because of socket paths."""
    return Path(os.environ.get("RECOUP_CLUSTERS") or "/var/lib/recoup-clusters")
