"""What a recovery point holds, read as docs/format-data.md says and in no other way: refs, trees, contents, devices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from msgspec.msgpack import decode

from tests.stranger.container import Block, Unreadable, block_id
from tests.stranger.vault import Point, Vault

DATA, TREE, CONTENT, DEVICE_MAP, XATTR = 1, 2, 3, 4, 9
AREAS = {DATA: "d", XATTR: "d", TREE: "m", CONTENT: "x", DEVICE_MAP: "x"}
Path = tuple[bytes, ...]


def ids(run: bytes) -> list[bytes]:
    return [run[at : at + 32] for at in range(0, len(run), 32)]


class Recovered:
    """One recovery point. Keeps the objects that it has opened."""

    def __init__(self, vault: Vault, point: Point) -> None:
        self.vault, self.point = vault, point
        self.objects: dict[bytes, list[Block]] = {}
        self.manifest: dict[str, Any] = decode(self.object("m", point.body["manifest"], 0)[0].plain)
        self.id_key = vault.id_key(self.manifest["idKeyGeneration"])
        self.places: dict[bytes, tuple[bytes, int, int]] = {}
        self.read_refs(point.body.get("refs") or self.manifest["refs"])

    def object(self, area: str, name: bytes, incarnation: int) -> list[Block]:
        if name not in self.objects:
            here = self.point.incarnations.get(name, 0 if self.point.mirrored else incarnation)
            self.objects[name] = self.vault.object(area, name, here)
        return self.objects[name]

    def read_refs(self, locator: list[Any]) -> None:
        name, incarnation, number = locator
        node = self.object("x", name, incarnation)[number].plain
        if node[0]:
            for child in decode(node)[2]:
                self.read_refs(child if child[0] else [name, incarnation, child[2]])
            return
        objects, rows = struct.unpack_from(">II", node, 4)
        named = [struct.unpack_from(">32sI", node, 12 + 36 * number) for number in range(objects)]
        for block, index, at, _ in struct.iter_unpack(">32sIII", node[12 + 36 * objects :][: 44 * rows]):
            self.places[block] = (*named[index], at)

    def block(self, name: bytes, kind: int) -> bytes:
        digest, incarnation, number = self.places[name]
        found = self.object(AREAS[kind], digest, incarnation)[number]
        if (found.kind, block_id(self.id_key, kind, found.plain)) != (kind, name):
            raise Unreadable(f"block {name.hex()}")
        return found.plain

    def entries(self) -> Iterator[tuple[Path, list[Any], list[Any] | None]]:
        """(path, entry, content) of everything; a content for regular files that are not empty."""
        if self.manifest.get("tree"):
            yield from self.below(self.manifest["tree"])

    def below(self, node: bytes) -> Iterator[tuple[Path, list[Any], list[Any] | None]]:
        level, first, second = decode(self.block(node, TREE))
        if level:
            for child in ids(second):
                yield from self.below(child)
            return
        companion: list[Any] = decode(self.block(first, CONTENT)) if first else [0, b"", []]
        blocks, contents = ids(companion[1]), iter(companion[2])
        path: Path = ()
        for keep, rest, entries in second:
            path = (*path[:keep], *rest)
            for entry in entries:
                full = [*entry, *[0, b"", [0, 0], 0, []][len(entry) - 6 :]]
                yield (*path, full[0]), full, [*next(contents), blocks] if full[1] == 1 and full[6] else None

    def pieces(self, content: list[Any], kind: int = CONTENT) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) in order; what lies between is zeros."""
        _scheme, runs, root, blocks = content
        if root:
            yield from self.listed(root, kind)
        for offset, length, number, at, _ in runs:
            yield offset, self.block(blocks[number], DATA)[at : at + length]

    def listed(self, node: bytes, kind: int) -> Iterator[tuple[int, bytes]]:
        level, first, second = decode(self.block(node, kind))
        if level:
            for child in ids(second):
                yield from self.listed(child, kind)
        else:
            yield from self.pieces([2, second, b"", ids(first)])
