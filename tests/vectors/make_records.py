"""Makes records.json: `python -m tests.vectors.make_records`. Data: run this only to add vectors, never to fix a failing test."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from recoup.engine.records import cache, content, manifest, objectset, rows, tree
from recoup.engine.records.nodes import Locator, ObjectRef, encode
from recoup.engine.records.refs import RefsInner

HERE = Path(__file__).parent


def some_id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def samples() -> dict[str, Any]:
    """One of every record that is MessagePack, with every field in use."""
    a, b, c, d = (some_id(name) for name in "abcd")
    entries = (
        tree.WireEntry(b"dir", 2, 0o2755, 0, 0, -1, 0),
        tree.WireEntry(b"file\xff", 1, 0o4644, 1234, 4_000_000_000, 1_700_000_000_123_456_789, 300, group=77),
        tree.WireEntry(b"link", 3, 0o777, 1, 2, 0, 0, b"../\xfe", xattrs=(tree.Xattr(b"user.a", b"v"), tree.Xattr(b"user.long", b"", d))),
        tree.WireEntry(b"null", 6, 0o666, 0, 0, 5, 0, device=(1, 3)),
    )
    locator, here = Locator(a, 0, 7), Locator(b"", 0, 1)
    record = cache.LeafRecord(4, b, a, c, here, 1_700_000_000_123_456_789, 3, 1, 300)
    return {
        "tree leaf": tree.TreeLeaf(0, c, (tree.Listing(0, (b"x", b"y"), entries), tree.Listing(1, (b"z",), entries[:1]))),
        "tree inner node": tree.TreeInner(1, ((0, (), b"a"), (0, (b"x", b"y"), b"dir"), (1, (b"z",), b"q")), a + b + c),
        "companion leaf": content.Companion(
            0,
            a + b,
            (
                content.WireContent(0, ((0, 300, 1, 4096, d),)),
                content.WireContent(1, ((0, 600_000, 0, 0, b""), (700_000, 524_288, 1, 0, b""))),
                content.WireContent(2, (), c),
            ),
            d,
        ),
        "list leaf": content.ListLeaf(0, a + b, ((0, 131_072, 0, 65_536, c + d), (196_608, 100, 1, 0, c))),
        "list inner node": content.ListInner(2, (0, 67_108_864), a + b),
        "refs inner node": RefsInner(1, bytes(32) + b, (locator, here)),
        "cache rows": cache.Rows(0, bytes(range(16)), bytes(range(16, 32)), b"\0\1"),
        "cache node": cache.Node(0, (record,)),
        "cache root": cache.Root(
            0, a, b, locator, ObjectRef(c, 0), d, a + b, b"", (here, locator), 1_700_000_000_000_000_000, 3, 1, 300, 9
        ),
        "manifest": manifest.Manifest(
            version=1,
            tool="recoup 0.1.0",
            kind=manifest.SourceKind.DIRECTORY,
            id_key_generation=1,
            started=1,
            finished=2,
            consistency="CrashConsistent",
            source=manifest.Source(
                cluster_uid="c",
                namespace="shop",
                persistent_volume_claim="data",
                access_modes=("ReadWriteOnce",),
                labels={"app": "db"},
                node_affinity=msgspec.Raw(msgspec.msgpack.encode({"required": {"nodeSelectorTerms": []}})),
                path="/source",
            ),
            run=manifest.Run(bytes(range(16)), "p", "daily", "2026-01-01T00:00:00Z", "s", "daily-1"),
            totals=manifest.Totals(3, 1, 300),
            refs=locator,
            tree=a,
            root=tree.WireEntry(b"", 2, 0o755, 0, 0, 3, 0),
            excludes=("*.tmp",),
            errors=(manifest.FileError(b"a/\xff", "Vanished", "No such file or directory"),),
            errors_total=1,
            parent=b,
        ),
    }


def tables() -> dict[str, bytes]:
    """One of every fixed-width table."""
    a, b, c, d = sorted(some_id(name) for name in "abcd")
    places = [(a, rows.Place(d, 0, 0, 1)), (b, rows.Place(c, 2, 5, 3)), (c, rows.Place(d, 0, 1, 2))]
    members = [objectset.Member(a, 0, "d", 16 << 20, 17), objectset.Member(b, 1, "x", 4096, 3)]
    shards = [objectset.Shard(0, 127, a, 0), objectset.Shard(128, 255, b, 0)]
    nonce = bytes(range(16))
    return {
        "refs table": rows.encode_table(places),
        "object set shard": objectset.encode_leaf(members, 0, 255, nonce),
        "object set root": objectset.encode_root(shards, nonce),
    }


def shown(value: Any) -> Any:
    """A MessagePack value as JSON: bytes as {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return value


def make() -> dict[str, Any]:
    records = {name: encode(sample) for name, sample in samples().items()}
    return {
        "records": {name: {"bytes": data.hex(), "value": shown(msgspec.msgpack.decode(data))} for name, data in records.items()},
        "tables": {name: data.hex() for name, data in tables().items()},
    }


if __name__ == "__main__":
    (HERE / "records.json").write_text(json.dumps(make(), indent=1) + "\n")
