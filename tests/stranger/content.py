"""What a recovery point holds, read as docs/format-data.md says and in no other way: refs, trees, contents, devices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tests.stranger.container import SealedObject, Unreadable, block_id
from tests.stranger.msgpack import unpack
from tests.stranger.vault import Point, Vault

DATA, TREE, CONTENT, DEVICE_MAP, MANIFEST, REFS, XATTR = 1, 2, 3, 4, 5, 6, 9
AREAS = {DATA: "d", XATTR: "d", TREE: "m", CONTENT: "x", DEVICE_MAP: "x"}
Path = tuple[bytes, ...]


def ids(run: bytes) -> list[bytes]:
    return [run[at : at + 32] for at in range(0, len(run), 32)]


class Recovered:
    """One recovery point. Keeps the objects that it has opened."""

    def __init__(self, vault: Vault, point: Point) -> None:
        self._vault, self._point = vault, point
        self._objects: dict[tuple[str, bytes], SealedObject] = {}
        (manifest,) = [block for block in self._object("m", point.manifest, 0).blocks if block.kind == MANIFEST]
        self.manifest: dict[str, Any] = unpack(manifest.plain)
        self._id_key = vault.id_key(self.manifest["idKeyGeneration"])
        self._places: dict[bytes, tuple[bytes, int, int]] = {}
        self._read_refs(tuple(point.refs or self.manifest["refs"]))

    def _object(self, area: str, name: bytes, incarnation: int) -> SealedObject:
        here = self._point.incarnations.get(name, 0 if self._point.mirrored else incarnation)
        if (area, name) not in self._objects:
            self._objects[area, name] = self._vault.object(area, name, here)
        return self._objects[area, name]

    def _read_refs(self, place: tuple[bytes, int, int]) -> None:
        node = self._object("x", place[0], place[1]).blocks[place[2]]
        if node.kind != REFS:
            raise Unreadable("refs")
        if node.plain[0]:
            for digest, incarnation, number in unpack(node.plain)[2]:
                self._read_refs((digest, incarnation, number) if digest else (place[0], place[1], number))
            return
        _, _, _, objects, rows = struct.unpack_from(">BBHII", node.plain)
        named = [struct.unpack_from(">32sI", node.plain, 12 + 36 * number) for number in range(objects)]
        for number in range(rows):
            block, index, at, _ = struct.unpack_from(">32sIII", node.plain, 12 + 36 * objects + 44 * number)
            self._places[block] = (*named[index], at)

    def block(self, block: bytes, kind: int) -> bytes:
        digest, incarnation, number = self._places[block]
        found = self._object(AREAS[kind], digest, incarnation).blocks[number]
        if (found.kind, block_id(self._id_key, kind, found.plain)) != (kind, block):
            raise Unreadable(f"block {block.hex()}")
        return found.plain

    def entries(self) -> Iterator[tuple[Path, list[Any], list[Any] | None]]:
        """(path, entry, content) of everything; a content for regular files that are not empty."""
        if self.manifest.get("tree"):
            yield from self._below(self.manifest["tree"])

    def _below(self, node: bytes) -> Iterator[tuple[Path, list[Any], list[Any] | None]]:
        level, *record = unpack(self.block(node, TREE))
        if level:
            for child in ids(record[1]):
                yield from self._below(child)
            return
        companion: list[Any] = unpack(self.block(record[0], CONTENT)) if record[0] else [0, b"", [], b""]
        blocks, contents = ids(companion[1]), iter(companion[2])
        path: Path = ()
        for keep, rest, entries in record[1]:
            path = (*path[:keep], *rest)
            for entry in entries:
                full = [*entry, *[0, b"", [0, 0], 0, []][len(entry) - 6 :]]
                content = next(contents) if full[1] == 1 and full[6] else None
                yield (*path, full[0]), full, [*content, blocks] if content else None

    def xattrs(self, entry: list[Any]) -> dict[bytes, bytes]:
        rows = ([*row, b"", b""][:3] for row in entry[10])
        return {name: self.block(block, XATTR) if block else value for name, value, block in rows}

    def pieces(self, content: list[Any], kind: int = CONTENT) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) in order; what lies between is zeros."""
        _scheme, runs, root, blocks = content
        for offset, length, number, at, _ in self._listed(root, kind) if root else ((*run[:2], blocks[run[2]], *run[3:]) for run in runs):
            yield offset, self.block(number, DATA)[at : at + length]

    def _listed(self, node: bytes, kind: int) -> Iterator[tuple[int, int, bytes, int, bytes]]:
        level, first, second = unpack(self.block(node, kind))
        if level:
            for child in ids(second):
                yield from self._listed(child, kind)
            return
        blocks = ids(first)
        yield from ((run[0], run[1], blocks[run[2]], run[3], run[4]) for run in second)

    def device(self) -> tuple[int, Iterator[tuple[int, bytes]]]:
        """(size, pieces)."""
        size, scheme, runs, root = self.manifest["device"]
        return size, self.pieces([scheme, runs, root, []], DEVICE_MAP)
