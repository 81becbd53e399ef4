"""Decoding from several threads at once: crashes without build_type_info, and not with it. A crash takes a process, so each has its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, threading
sys.setswitchinterval(1e-6)
from recoup.api.backuplocation import BackupLocation
from recoup.api.backuppolicy import BackupPolicy
from recoup.api.backupsnapshot import BackupSnapshot
from recoup.api.objects import decode
from recoup.api.restorerequest import RestoreRequest
from recoup.typeinfo import build_type_info

if sys.argv[1] == "built":
    build_type_info()
metadata = {"name": "x", "namespace": "y", "creationTimestamp": "2026-11-23T12:00:00Z"}
objects = [
    (BackupPolicy, {"selector": {}, "locations": [{"name": "a"}], "schedule": {"every": "1h"}}),
    (BackupSnapshot, {"policyRef": {"name": "p"}}),
    (RestoreRequest, {"source": {"snapshotRef": {"name": "s"}}}),
    (BackupLocation, {"s3": {"bucket": "abc", "credentialsSecretRef": {"name": "s"}}, "encryption": {"keys": [{"name": "k"}]}}),
]
start = threading.Barrier(8)

def work(kind, spec):
    start.wait()
    for _ in range(20):
        decode(kind, {"metadata": metadata, "spec": spec})

threads = [threading.Thread(target=work, args=objects[number // 2]) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def crashes(mode: str, runs: int) -> int:
    return sum(subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, check=False).returncode != 0 for _ in range(runs))


def test_with_it_many_threads_may_decode_at_once() -> None:
    assert crashes("built", 12) == 0


def test_without_it_the_process_crashes() -> None:
    """Most runs do. When none does any more, msgspec was mended and typeinfo.py can go."""
    assert crashes("not built", 12) > 0
