"""What is unique and what is shared, added up from sets of any size in the same memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from recoup.engine.browse.stats import VaultUsage, usage
from recoup.engine.format.names import digest_of, object_name
from recoup.engine.log.bodies import Commit
from recoup.engine.log.facts import Committed
from recoup.engine.records.objectset import Member, Shard, encode_leaf, encode_root
from recoup.engine.stores.file import FileStore
from recoup.report import Progress

VAULT = bytes(16)
SIZE = 1000
SHARDS = 64


def put(store: FileStore, data: bytes) -> bytes:
    digest = digest_of(data)
    store.create(object_name(VAULT, "x", digest), data)
    return digest


def shard_of(store: FileStore, members: list[bytes], number: int) -> Shard:
    low = number * 256 // SHARDS
    high = (number + 1) * 256 // SHARDS - 1
    inside = sorted(digest for digest in members if low <= digest[0] <= high)
    data = encode_leaf([Member(digest, 0, "d", SIZE, 1) for digest in inside], low, high, os.urandom(16))
    return Shard(low, high, put(store, data), 0)


def commit(store: FileStore, shards: list[Shard]) -> Committed:
    root = put(store, encode_root(shards, os.urandom(16)))
    manifest = os.urandom(32)
    store.create(object_name(VAULT, "m", manifest), b"manifest")
    return Committed(0, 0, 0, Commit(bytes(16), 0, b"", manifest, root, (), b"", b""))


def usage_of(store: FileStore, commits: list[Committed]) -> VaultUsage:
    return usage(store, VAULT, commits, Progress(quiet=True))


def test_unique_and_shared(tmp_path: Path) -> None:
    """Two points share a shard as a node, and members of another shard that they have not in common as a node."""
    store = FileStore(str(tmp_path))
    names = [bytes((first,)) + os.urandom(31) for first in range(256)]
    common = [shard_of(store, names, number) for number in range(SHARDS)]
    other = [*common[:-1], shard_of(store, [*names[-2:], b"\xff" * 32], SHARDS - 1)]
    total = usage_of(store, [commit(store, common), commit(store, other)])
    first, second = total.points
    nodes = sum(len(store.get(object_name(VAULT, "x", shard.digest))) for shard in common[:-1])
    assert first.shared_bytes == second.shared_bytes == 254 * SIZE + nodes
    own = [len(store.get(object_name(VAULT, "x", shards[-1].digest))) for shards in (common, other)]
    root = len(encode_root(common, bytes(16)))
    assert first.unique_bytes == 2 * SIZE + own[0] + root + len(b"manifest")
    assert second.unique_bytes == SIZE + own[1] + root + len(b"manifest")
    assert total.bytes == first.bytes + second.bytes - first.shared_bytes
    assert first.unique_objects == 5


@pytest.mark.parametrize("points", [1, 5])
def test_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int) -> None:
    monkeypatch.setattr("recoup.engine.browse.spool.RUN_BYTES", 64 << 10)
    monkeypatch.setattr("recoup.engine.browse.spool.FAN_IN", 8)
    peaks = []
    for count in (5_000, 50_000):
        store = FileStore(str(tmp_path / str(count)))
        (tmp_path / str(count)).mkdir()
        names = [os.urandom(32) for _ in range(count)]
        shards = [shard_of(store, names, number) for number in range(SHARDS)]
        commits = [commit(store, shards) for _ in range(points)]
        tracemalloc.start()
        total = usage_of(store, commits)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total.objects == count + SHARDS + 2 * points
        assert total.points[0].unique_objects == (count + SHARDS + 2 if points == 1 else 2)
    shard = 50_000 // SHARDS * 400  # one shard, decoded
    assert peaks[1] < peaks[0] + shard + (3 << 20), peaks
