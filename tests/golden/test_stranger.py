"""The independent reader restores every golden recovery point, with every kind of key, from either place."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests import stranger
from tests.golden.repository import PLACES, format_1
from tests.stranger.content import DEVICE_MAP, XATTR, Recovered
from tests.stranger.vault import Vault

LETTERS = "?fdlpscb"


def told(recovered: Recovered) -> dict[str, dict[str, Any]]:
    """What a point holds, in the words of expected.json."""
    if recovered.manifest["kind"] == "device":
        size, scheme, runs, root = recovered.manifest["device"]
        pieces = recovered.pieces([scheme, runs, root, []], DEVICE_MAP)
        return {".": {"type": "b", "size": size, "sha256": digest(size, pieces)}}
    found: dict[str, dict[str, Any]] = {}
    groups: dict[int, str] = {}
    for path, entry, content in recovered.entries():
        _, type_, mode, uid, gid, mtime, size, target, _, group, _ = entry
        name = os.fsdecode(b"/".join(path))
        row: dict[str, Any] = {"type": LETTERS[type_], "mode": stat.S_IMODE(mode), "uid": uid, "gid": gid, "mtime": mtime}
        if type_ == 1:
            row |= {"size": size, "sha256": digest(size, recovered.pieces(content) if content else ())}
            row |= {"sameAs": groups.setdefault(group, name)} if group else {}
        elif type_ == 3:
            row["target"] = os.fsdecode(target)
        rows = ([*row, b"", b""][:3] for row in entry[10])
        xattrs = {os.fsdecode(key): (recovered.block(block, XATTR) if block else value).hex() for key, value, block in rows}
        found[name] = row | ({"xattrs": xattrs} if xattrs else {})
    return found


def digest(size: int, pieces: Iterable[tuple[int, bytes]]) -> str:
    made, at = hashlib.sha256(), 0
    for offset, data in pieces:
        made.update(bytes(offset - at))
        made.update(data)
        at = offset + len(data)
    made.update(bytes(size - at))
    return made.hexdigest()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kek", ["secret", "recovery", "hybrid", "passphrase"])
def test_the_stranger_restores_everything(place: str, kek: str) -> None:
    golden = format_1()
    vault = Vault(golden.objects[place].get, golden.keys[kek], golden.keys["fingerprint"])
    assert vault.log.skipped == 0
    expected = golden.points(place)
    assert {point.hex() for point in vault.log.points} == set(expected)
    for manifest, point in vault.log.points.items():
        found, wanted = told(Recovered(vault, point)), expected[manifest.hex()]
        if "dump.sql" in wanted:  # a stream has no attributes
            found = {"dump.sql": {key: found["dump.sql"][key] for key in ("type", "size", "sha256")}}
        assert found == wanted


def test_the_stranger_is_short() -> None:
    """Every line counts, also blank ones, imports and comments: a reader of this format is no large thing to write."""
    parts = [path for path in Path(stranger.__path__[0]).glob("*.py") if not path.name.startswith("test_")]
    assert sum(len(path.read_text().splitlines()) for path in parts) <= 400
