"""Which entries of a recovery point are restored, and where each goes: globs and moved paths, as streams in tree order.

Pure but for reading tree nodes; only those nodes are fetched that may hold something chosen. One stream is everything at its own
place, every `--map` is one more. Consumers (content, late, sweep, settle) take the streams one after the other.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import field

from recoup.engine.records.nodes import Fetch
from recoup.engine.records.tree import Entry, FileType, Path, iterate_paths, iterate_tree, valid_name
from recoup.engine.source.exclude import Excludes
from recoup.errors import Invalid
from recoup.value import Value

_WILD = (b"*", b"?", b"[")


class Choice(Value, frozen=True):
    """What was asked for, as given. Globs are those of a backup's --exclude; an exclude beats an include."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    maps: tuple[tuple[str, str], ...] = ()
    """(path in the recovery point, path below the target)."""

    @property
    def everything(self) -> bool:
        return not (self.include or self.exclude or self.maps)


class Globs(Value, frozen=True):
    """Compiled includes and excludes."""

    include: Excludes
    exclude: Excludes
    prefixes: tuple[Path, ...]
    """Directories or files outside which nothing can match."""

    @classmethod
    def of(cls, choice: Choice) -> Globs:
        prefixes = tuple(dict.fromkeys(literal_prefix(pattern) for pattern in choice.include)) or ((),)
        if () in prefixes:
            prefixes = ((),)
        return cls(Excludes(choice.include, "include"), Excludes(choice.exclude), prefixes)

    def takes(self, path: Path) -> bool:
        """Whether this path is chosen, by itself or with a directory above it."""
        folder = self.folder(path[:-1])
        return folder.takes(self, path[-1])

    def folder(self, path: Path) -> _Folder:
        included = not self.include
        for depth, name in enumerate(path):
            parent = b"/".join(path[:depth])
            if self.exclude.matches(parent, name):
                return _Folder(path, b"", included=False, excluded=True)
            included = included or self.include.matches(parent, name)
        return _Folder(path, b"/".join(path), included=included, excluded=False)


class _Folder(Value, frozen=True):
    """What the globs say of all entries of one directory."""

    path: Path
    joined: bytes
    included: bool
    excluded: bool

    def takes(self, globs: Globs, name: bytes) -> bool:
        if self.excluded or globs.exclude.matches(self.joined, name):
            return False
        return self.included or globs.include.matches(self.joined, name)

    def shuts(self, globs: Globs, name: bytes) -> bool:
        """Whether nothing below `name` can be chosen either."""
        return self.excluded or globs.exclude.matches(self.joined, name)


class Stream(Value, frozen=True):
    """Entries from `source` of the recovery point, placed at `base` below the target."""

    globs: Globs
    source: Path
    base: Path
    without: tuple[Path, ...]
    """Paths below `source` that other streams take."""
    placed: dict[Path, set[bytes]] = field(default_factory=dict)
    """Names that streams put into directories which are not theirs: by directory below the target."""

    @property
    def everything(self) -> bool:
        """All there is, each at its own place."""
        return not (self.source or self.base or self.without or self.globs.include or self.globs.exclude)

    def entries(self, fetch: Fetch, root: bytes, seen: Callable[[Entry], None] | None = None) -> Iterator[Entry]:
        """The chosen entries in tree order, with the directories on the way to them (`implied`).

        `seen` is told every chosen entry as it is in the recovery point, before it is moved.
        """
        paths = self._paths()
        if not paths:
            return
        walk = iterate_tree(fetch, root) if paths == [()] else iterate_paths(fetch, root, paths)
        if self.everything and seen is None:
            yield from walk
            return
        folder: _Folder | None = None
        plain = not self.globs.include and not self.globs.exclude
        for entry in walk:
            if entry.parent[: len(self.source)] != self.source and entry.path != self.source:
                continue
            if entry.path == self.source and not self.base:
                continue  # `--map OLD=.`: what is in the directory, without the directory
            if self.without and any(entry.path[: len(path)] == path for path in self.without):
                continue
            if plain:
                yield self._moved(entry, implied=False)
                continue
            if folder is None or folder.path != entry.parent:
                folder = self.globs.folder(entry.parent)
            if folder.takes(self.globs, entry.name):
                if seen is not None:
                    seen(entry)
                yield self._moved(entry, implied=False)
            elif entry.type is FileType.DIRECTORY and self.globs.include and not folder.shuts(self.globs, entry.name):
                yield self._moved(entry, implied=True)

    def takes(self, path: Path) -> bool:
        """Whether something at `path` below the target would be this stream's, if the recovery point had it."""
        if path[: len(self.base)] != self.base:
            return False
        origin = (*self.source, *path[len(self.base) :])
        return bool(origin) and not any(origin[: len(one)] == one for one in self.without) and self.globs.takes(origin)

    def _paths(self) -> list[Path]:
        found = []
        for prefix in self.globs.prefixes:
            if prefix[: len(self.source)] == self.source:
                found.append(prefix)
            elif self.source[: len(prefix)] == prefix:
                found.append(self.source)
        return list(dict.fromkeys(found))

    def _moved(self, entry: Entry, *, implied: bool) -> Entry:
        if self.source == self.base and not implied:
            return entry
        place = (*self.base, *entry.path[len(self.source) :])
        return msgspec.structs.replace(entry, parent=place[:-1], name=place[-1], implied=implied)


class Selection:
    """The streams of one restore. Raises Invalid for a choice that cannot be meant."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        globs = Globs.of(choice)
        moves = [(parse_path(old), parse_path(new)) for old, new in choice.maps]
        _check_moves(moves)
        olds = [old for old, _ in moves]
        onto_root = any(not new for _, new in moves)
        placed: dict[Path, set[bytes]] = {}
        for _, new in moves:
            for depth in range(len(new)):
                placed.setdefault(new[:depth], set()).add(new[depth])
        streams = [] if onto_root else [Stream(globs, (), (), tuple(olds), placed)]
        for old, new in moves:
            inner = tuple(one for one in olds if one != old and one[: len(old)] == old)
            streams.append(Stream(globs, old, new, inner, placed))
        self.streams: tuple[Stream, ...] = tuple(streams)

    @property
    def everything(self) -> bool:
        """Nothing is left out: the manifest's totals hold."""
        return not (self.choice.include or self.choice.exclude) and all(stream.base or not stream.source for stream in self.streams)

    @property
    def root(self) -> bool:
        """Whether the target itself gets the attributes of the recovery point's root directory."""
        return not self.choice.include and not self.streams[0].source

    def check(self, fetch: Fetch, root: bytes) -> None:
        """Raise Invalid for a --map from what the recovery point does not have, or onto what it has."""
        for stream in self.streams:
            if stream.source and next(iterate_tree(fetch, root, stream.source), None) is None:
                raise Invalid(f"--map: the recovery point has nothing at {_text(stream.source)}", reason="PathNotFound")
            if stream.base:
                self._check_free(fetch, root, stream.base)

    def _check_free(self, fetch: Fetch, root: bytes, base: Path) -> None:
        away = self.streams[0].without
        for entry in iterate_paths(fetch, root, [base]):
            path = entry.path
            if any(path[: len(one)] == one for one in away):
                continue
            if len(path) >= len(base) or entry.type is not FileType.DIRECTORY:
                message = f"--map: the recovery point has something at {_text(path)} itself; choose another place, or move that, too"
                raise Invalid(message, reason="InvalidMap")

    def entries(self, fetch: Fetch, root: bytes, seen: Callable[[Entry], None] | None = None) -> Iterator[Entry]:
        """All streams, one after the other."""
        return itertools.chain.from_iterable(stream.entries(fetch, root, seen) for stream in self.streams)


class Unmatched:
    """The includes that nothing chosen has matched so far: a mistyped one must not pass for a restore of what was meant."""

    def __init__(self, choice: Choice) -> None:
        self._left = [Excludes((pattern,), "include") for pattern in choice.include]

    def see(self, entry: Entry) -> None:
        if self._left:
            parent = b"/".join(entry.parent)
            self._left = [pattern for pattern in self._left if not pattern.matches(parent, entry.name)]

    @property
    def patterns(self) -> tuple[str, ...]:
        return tuple(pattern.patterns[0] for pattern in self._left)


def parse_path(text: str) -> Path:
    """Components of a path as a person gives it; () for the root. Raises Invalid for one that could lead elsewhere."""
    path = tuple(part for part in os.fsencode(text).split(b"/") if part not in {b"", b"."})
    for part in path:
        if not valid_name(part):
            raise Invalid(f"{text!r} is not a path below a directory", reason="InvalidPath")
    return path


def _check_moves(moves: Sequence[tuple[Path, Path]]) -> None:
    for number, (old, new) in enumerate(moves):
        if not old:
            raise Invalid("--map: the root of the recovery point cannot be moved; use --into", reason="InvalidMap")
        if not new and len(moves) > 1:
            raise Invalid("--map OLD=. brings back one directory's content and stands alone", reason="InvalidMap")
        for other_old, other_new in moves[:number]:
            if old == other_old:
                raise Invalid(f"--map: {_text(old)} is moved twice", reason="InvalidMap")
            if new[: len(other_new)] == other_new or other_new[: len(new)] == new:
                raise Invalid(f"--map: {_text(new)} and {_text(other_new)} lie in each other", reason="InvalidMap")


def literal_prefix(pattern: str) -> Path:
    """The components that every match of an include begins with; () if it can match anywhere."""
    raw = os.fsencode(pattern)
    if b"/" not in raw.rstrip(b"/"):
        return ()
    parts = [part for part in raw.split(b"/") if part]
    literal = itertools.takewhile(lambda part: not any(wild in part for wild in _WILD), parts)
    return tuple(literal)


def _text(path: Path) -> str:
    return os.fsdecode(b"/".join(path))
