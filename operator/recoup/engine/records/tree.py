"""Trees: the listings of all directories in one order (docs/format-data.md section 2).

A tree is a sequence of listings, parents before children, directories in the order of their paths' components, names in raw
byte order. Leaves cut the sequence; inner nodes say what each child begins with, so that part of a tree is read alone.
Writing: backup/leaves. Contents: content.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from operator import lt

import msgspec
from msgspec.structs import astuple

from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.content import Content, open_companion
from recoup.engine.records.nodes import ID, Fetch, decoder, level_of, split_ids
from recoup.errors import Integrity

Path = tuple[bytes, ...]
Key = tuple[Path, bytes]
Wanted = Callable[[Key, Key | None], bool]
"""Whether to read a node that begins with the first key and ends before the second (None: not known, the last)."""


class FileType(IntEnum):
    REGULAR = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER = 6
    BLOCK = 7


class Xattr(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One extended attribute; POSIX ACLs and capabilities are among them, in the kernel's own encoding."""

    name: bytes
    value: bytes
    block: bytes = b""
    """Id of the block (BlockKind.XATTR) that is the value, if it is too long to stand here; `value` is empty then."""


class WireEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry as a leaf stores it; fields as in Entry."""

    name: bytes
    type: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    group: int = 0
    xattrs: tuple[Xattr, ...] = ()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One file, directory or other object of a tree."""

    parent: Path
    """Path components of the directory that lists it; () is the source's root directory."""
    name: bytes
    type: FileType
    mode: int
    """Permission bits with setuid, setgid and sticky (0o7777)."""
    uid: int
    gid: int
    mtime: int
    """Nanoseconds since 1970, may be negative."""
    size: int
    """Bytes of a regular file, else 0."""
    target: bytes = b""
    """What a symlink says."""
    device: tuple[int, int] = (0, 0)
    """(major, minor) of a device file."""
    group: int = 0
    """Not 0: all entries of the tree with this number are hard links of one file; each carries the same content."""
    xattrs: tuple[Xattr, ...] = ()
    content: Content | None = None
    """Of a regular file that is not empty."""
    implied: bool = False
    """Set by restore/selection.py alone: a directory on the way to what was chosen, itself not chosen. Not stored."""

    @property
    def path(self) -> Path:
        return (*self.parent, self.name)


class Listing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Entries of one directory, or a part of them if the leaf begins or ends within it."""

    keep: int
    """How many components the directory's path shares with the previous listing's of this leaf (0 for the first)."""
    rest: tuple[bytes, ...]
    entries: tuple[WireEntry, ...]


class TreeLeaf(msgspec.Struct, frozen=True, array_like=True, gc=False):
    level: int
    companion: bytes
    """Id of the companion leaf (BlockKind.CONTENT); empty if no entry has content or long xattrs."""
    listings: tuple[Listing, ...]


class TreeInner(msgspec.Struct, frozen=True, array_like=True, gc=False):
    level: int
    keys: tuple[tuple[int, tuple[bytes, ...], bytes], ...]
    """What each child begins with: (components kept from the previous key's directory, the rest of them, name)."""
    children: bytes


decode_leaf = decoder(TreeLeaf)
decode_inner = decoder(TreeInner)


def iterate_tree(fetch: Fetch, root: bytes, under: Path = ()) -> Iterator[Entry]:
    """Entries in tree order: a directory's whole listing before the listings of its subdirectories.

    With `under`, the entry of that path itself, then what is below it; only nodes that may hold such are fetched. Raises
    Integrity for any order, duplicate, name or link between nodes that a writer would not have made.
    """
    order = _Order(check_parents=not under)
    for leaf in _leaves(fetch, root, lambda first, after: may_hold(first, after, under)):
        for listing in leaf:
            order.check(listing)
            yield from (entry for entry in listing if _within(entry.path, under)) if under else listing


def iterate_paths(fetch: Fetch, root: bytes, paths: Sequence[Path]) -> Iterator[Entry]:
    """As `iterate_tree`, of several paths at once: their entries, what is below them, and the directories that lead to them."""
    order = _Order(check_parents=True)
    for leaf in _leaves(fetch, root, lambda first, after: any(leads_to(first, after, path) for path in paths)):
        for listing in leaf:
            chosen = [entry for entry in listing if any(_within(entry.path, path) or _within(path, entry.path) for path in paths)]
            if chosen:
                order.check(chosen)
                yield from chosen


def leads_to(first: Key, after: Key | None, path: Path) -> bool:
    """Whether a child may hold the entry of `path`, anything below it, or the entry of a directory above it."""
    if may_hold(first, after, path):
        return True
    above = ((path[:depth], path[depth]) for depth in range(len(path) - 1))
    return any(first <= key and (after is None or key < after) for key in above)


def _within(path: Path, under: Path) -> bool:
    return path[: len(under)] == under


class _Order:
    """Checks that entries come in tree order, names are unique, and every listing belongs to a directory listed before."""

    def __init__(self, *, check_parents: bool) -> None:
        self._check_parents = check_parents
        self._path: Path | None = None
        self._name = b""
        self._open: list[set[bytes]] = []
        """Names of the directories listed at each level above and in the current listing."""
        self._current: Path = ()

    def check(self, listing: Sequence[Entry]) -> None:
        """Entries of one directory, at least one: a whole listing, or a part of it."""
        path = listing[0].parent
        names = [entry.name for entry in listing]
        if path == self._path:
            names.insert(0, self._name)
        else:
            if self._path is not None and path <= self._path:
                raise Integrity(f"the listing of {printable(path)} is out of order")
            self._enter(path)
        if not all(map(lt, names, names[1:])):
            raise Integrity(f"two entries of {printable(path)} are not in order or have one name")
        self._name = names[-1]
        if self._check_parents:
            self._open[-1].update(entry.name for entry in listing if entry.type is FileType.DIRECTORY)

    def _enter(self, path: Path) -> None:
        self._path = path
        if not self._check_parents:
            return
        depth = len(path)
        if depth and (len(self._open) < depth or path[-1] not in self._open[depth - 1] or not self._ancestors(path)):
            raise Integrity(f"{printable(path)} is listed, but is no directory of its parent")
        del self._open[depth:]
        self._open.append(set())
        self._current = path

    def _ancestors(self, path: Path) -> bool:
        """The listings still open are those of `path`'s ancestors."""
        shared = len(path) - 1
        return self._current[:shared] == path[:shared]


def _leaves(fetch: Fetch, node: bytes, wanted: Wanted, level: int | None = None) -> Iterator[Iterator[list[Entry]]]:
    """The listings of each leaf, leaf by leaf: handing each entry up through all levels would cost as much as decoding it."""
    data = fetch(node, BlockKind.TREE)
    found = level_of(data, "a tree's node")
    if level is not None and found != level:
        raise Integrity("a tree's node is on another level than its parent says")
    if found == 0:
        yield _entries(fetch, data)
        return
    inner = decode_inner(data, "a tree's node")
    children = split_ids(inner.children, "a tree's node")
    keys = child_keys(inner)
    if len(children) != len(keys) or not children or any(a >= b for a, b in itertools.pairwise(keys)):
        raise Integrity("the children of a tree's node are not in order")
    for index, child in enumerate(children):
        after = keys[index + 1] if index + 1 < len(keys) else None
        if wanted(keys[index], after):
            yield from _leaves(fetch, child, wanted, found - 1)


def may_hold(first: Key, after: Key | None, under: Path) -> bool:
    """Whether a child whose keys are `first` ≤ key < `after` may hold the entry of `under` or anything below it."""
    if not under:
        return True
    own = (under[:-1], under[-1])
    if first <= own and (after is None or own < after):
        return True
    begins_below = first[0][: len(under)] == under
    spans = first[0] < under and (after is None or after[0] >= under)
    return begins_below or spans


def child_keys(inner: TreeInner) -> list[Key]:
    """What each child of an inner node begins with. Raises Integrity."""
    keys: list[Key] = []
    path: Path = ()
    for keep, rest, name in inner.keys:
        path = _advance(path, keep, rest)
        keys.append((path, name))
    return keys


def _advance(path: Path, keep: int, rest: tuple[bytes, ...]) -> Path:
    if not 0 <= keep <= len(path) or any(not valid_name(component) for component in rest):
        raise Integrity("a listing's path is not well-formed")
    return path[:keep] + rest


def leaf_entries(fetch: Fetch, data: bytes | memoryview) -> Iterator[Entry]:
    """The entries of one leaf, with their contents. Raises Integrity for any that no directory can have."""
    return itertools.chain.from_iterable(_entries(fetch, data))


def _entries(fetch: Fetch, data: bytes | memoryview) -> Iterator[list[Entry]]:
    """The leaf's listings, none of them empty."""
    leaf = decode_leaf(data, "a tree's leaf")
    if len(leaf.companion) not in {0, ID}:
        raise Integrity("a tree's leaf names no companion")
    sizes = [e.size for listing in leaf.listings for e in listing.entries if e.type == FileType.REGULAR and e.size]
    contents: Iterator[Content] = iter(())
    if leaf.companion:
        contents = iter(open_companion(fetch(leaf.companion, BlockKind.CONTENT), sizes)[0])
    elif sizes:
        raise Integrity("a tree's leaf has files with content but no companion")
    path: Path = ()
    for listing in leaf.listings:
        path = _advance(path, listing.keep, listing.rest)
        if listing.entries:
            yield _open(path, listing.entries, contents)


def _open(path: Path, wires: Sequence[WireEntry], contents: Iterator[Content]) -> list[Entry]:
    """Called for every entry of a recovery point, so that the usual ones, files of good names, are looked at all at once."""
    named = _valid_names([wire.name for wire in wires])
    entries = []
    for wire in wires:
        name, number, mode, uid, gid, mtime, size, target, device, group, xattrs = astuple(wire)
        kind = _TYPES.get(number)
        usual = named and kind is _REGULAR and not (target or xattrs)
        if kind is None or not usual or not (0 <= mode <= _MODE and size >= 0 and 0 <= uid <= _ID and 0 <= gid <= _ID):
            flaw = _flaw(wire, kind)
            if flaw or kind is None:
                raise Integrity(f"{printable((*path, name))} {flaw}")
        content = next(contents) if size else None
        entries.append(Entry(path, name, kind, mode, uid, gid, mtime, size, target, device, group, xattrs, content))
    return entries


_REGULAR = FileType.REGULAR
_MODE = 0o7777
_ID = (1 << 32) - 1
_TYPES = {int(kind): kind for kind in FileType}


def _flaw(wire: WireEntry, kind: FileType | None) -> str:
    """What is wrong with an entry; empty if nothing is. Called for every entry, so that it makes no text but for a flaw."""
    if not valid_name(wire.name):
        return "is not a file name"
    if kind is None:
        return f"is of the unknown type {wire.type}"
    if wire.mode & ~0o7777 or wire.size < 0 or not 0 <= wire.uid < 1 << 32 or not 0 <= wire.gid < 1 << 32:
        return "has attributes that no file has"
    if (kind is FileType.SYMLINK) != bool(wire.target) or (wire.size and kind is not FileType.REGULAR) or b"\0" in wire.target:
        return "has attributes of another type of file"
    for xattr in wire.xattrs:
        if not xattr.name or b"\0" in xattr.name or len(xattr.block) not in {0, ID}:
            return "has an extended attribute that is not well-formed"
    return ""


def valid_name(name: bytes) -> bool:
    """A name that a directory can hold: one component, nothing that leads elsewhere."""
    return 0 < len(name) <= 255 and name not in {b".", b".."} and b"/" not in name and b"\0" not in name


def _valid_names(names: list[bytes]) -> bool:
    """Whether all are valid, by looking at them together."""
    joined = b"\0".join(names)
    if b"/" in joined or joined.count(b"\0") != len(names) - 1 or b"." in names or b".." in names:
        return False
    return b"" not in names and len(max(names, key=len)) <= 255


def printable(path: Path) -> str:
    r"""A path for messages and lists: bytes that are not UTF-8 as \\xNN, and so are control characters."""
    text = b"/".join(path).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text or "."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
