"""One path of a recovery point: its entry, by reading only the nodes that lead to it."""

from __future__ import annotations

from recoup.engine.format.kinds import BlockKind
from recoup.engine.points import OpenPoint
from recoup.engine.records.content import Content
from recoup.engine.records.manifest import SourceKind
from recoup.engine.records.tree import Entry, FileType, Path, iterate_tree, printable
from recoup.errors import Invalid, NotFound, Usage


def find_entry(point: OpenPoint, path: Path) -> Entry:
    """The entry at `path`. Raises NotFound (PathNotFound), Usage for a recovery point of a device."""
    if point.manifest.device is not None:
        raise Usage(f"recovery point {point.id[:16]} is of a block device: it has no paths")
    if path:
        for entry in iterate_tree(point.blocks.fetch, point.manifest.tree, path):
            if entry.path == path:
                return entry
            break
    raise NotFound(f"recovery point {point.id[:16]} has nothing at {printable(path)}", reason="PathNotFound")


def find_content(point: OpenPoint, path: Path) -> tuple[Content | None, BlockKind]:
    """The content of the file at `path`, or of the device that the point is of; None for an empty file. Raises as `find_file`."""
    if point.manifest.device is not None and not path:
        return point.manifest.device, BlockKind.DEVICE_MAP
    if point.manifest.kind is SourceKind.FILE and not path:
        path = next(iterate_tree(point.blocks.fetch, point.manifest.tree)).path
    return find_file(point, path).content, BlockKind.CONTENT


def find_file(point: OpenPoint, path: Path) -> Entry:
    """As `find_entry`, of a regular file. Raises Invalid (NotFile) for anything else."""
    entry = find_entry(point, path)
    if entry.type is not FileType.REGULAR:
        what = f"it is a {entry.type.name.lower()}"
        if entry.type is FileType.SYMLINK:
            what += f" to {entry.target.decode('utf-8', 'backslashreplace')}"
        raise Invalid(f"{printable(path)} is no file: {what}", reason="NotFile")
    return entry
