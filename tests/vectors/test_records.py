"""The vectors of docs/format-data.md: the product makes and reads them, and read without their types they show the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.msgpack import decode as unpack

from recoup.engine.records import cache, content, manifest, objectset, rows, tree
from recoup.engine.records import refs as refs_records
from tests.vectors import make_records

VECTORS = json.loads((Path(__file__).parent / "records.json").read_text())
DECODERS: dict[str, Any] = {
    "tree leaf": tree.decode_leaf,
    "tree inner node": tree.decode_inner,
    "companion leaf": content.decode_companion,
    "list leaf": content.decode_list_leaf,
    "list inner node": content.decode_list_inner,
    "refs inner node": refs_records.decode_inner,
    "cache rows": lambda data, _name: cache.decode_rows(data),
    "cache node": cache.decode_node,
    "cache root": cache.decode_root,
    "manifest": manifest.decode_manifest,
}


def test_every_record_has_a_vector() -> None:
    assert make_records.make() == VECTORS
    assert set(VECTORS["records"]) == set(DECODERS)


@pytest.mark.parametrize("name", DECODERS)
def test_records(name: str) -> None:
    vector = VECTORS["records"][name]
    data = bytes.fromhex(vector["bytes"])
    assert DECODERS[name](data, name) == make_records.samples()[name]
    assert make_records.shown(unpack(data)) == vector["value"]


def test_tables() -> None:
    data = {name: bytes.fromhex(text) for name, text in VECTORS["tables"].items()}
    table = rows.Table(data["refs table"], "vector")
    assert [place.number for _, place in table] == [0, 5, 1]
    assert [member.size for member in objectset.decode_leaf(data["object set shard"], 0, 255, "vector")] == [16 << 20, 4096]
    assert [shard.high for shard in objectset.decode_root(data["object set root"], "vector")] == [127, 255]
