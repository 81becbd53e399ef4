"""The inner nodes of a tree over its leaves (docs/format-data.md section 2). A parent ends where a child's id says so."""

from __future__ import annotations

from typing import Final

from recoup.engine.backup.leaves import NewLeaf, PutBlock
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.nodes import encode
from recoup.engine.records.tree import Key, Path, TreeInner, TreeLeaf

LEAST: Final = 64
MOST: Final = 1024
AVERAGE: Final = 256
KEY_BYTES: Final = 256 << 10
"""A parent also ends when its keys have so many bytes."""

_Child = tuple[Key, bytes]


def put_trunk(leaves: list[NewLeaf], put: PutBlock) -> tuple[bytes, list[bytes]]:
    """(id of the root, ids of all inner nodes). The root of a tree of one leaf is the leaf, and an empty tree has an empty one."""
    inner: list[bytes] = []
    children: list[_Child] = [(leaf.key, leaf.record.tree) for leaf in leaves if leaf.record is not None]
    if not children:
        return put(BlockKind.TREE, encode(TreeLeaf(0, b"", ()))), inner
    level = 0
    while len(children) > 1:
        level += 1
        children = [_node(level, part, put) for part in _parts(children)]
        inner += [node for _, node in children]
    return children[0][1], inner


def _parts(children: list[_Child]) -> list[list[_Child]]:
    parts: list[list[_Child]] = [[]]
    size = 0
    for child in children:
        last = parts[-1]
        by_id = len(last) >= LEAST and int.from_bytes(last[-1][1][:2], "big") % AVERAGE == 0
        if last and (by_id or len(last) >= MOST or (size > KEY_BYTES and len(last) >= 2)):
            parts.append([])
            size = 0
        parts[-1].append(child)
        (path, name), _ = child
        size += sum(len(component) + 4 for component in path) + len(name)
    return parts


def _node(level: int, children: list[_Child], put: PutBlock) -> _Child:
    keys: list[tuple[int, Path, bytes]] = []
    last: Path = ()
    for (path, name), _ in children:
        keep = 0
        while keep < len(last) and keep < len(path) and last[keep] == path[keep]:
            keep += 1
        keys.append((keep, path[keep:], name))
        last = path
    return children[0][0], put(BlockKind.TREE, encode(TreeInner(level, tuple(keys), b"".join(node for _, node in children))))
