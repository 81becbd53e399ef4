"""What is in the target and not in the recovery point: leftovers of restores that did not end, and, for a mirror, everything else chosen.

Runs when all content has come well, so that nothing is deleted for a restore that then fails. A mirror deletes only what the choice
would have taken had the recovery point it; other names, the marker and lost+found stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from recoup.engine.records.tree import Entry, FileType, Path
from recoup.engine.restore.files import TEMPORARY, Hands
from recoup.engine.restore.orders import Existing
from recoup.engine.restore.selection import Stream
from recoup.engine.restore.target import Target, names_in
from recoup.errors import Invalid
from recoup.value import Value

Remove = Callable[[int, Path, bool], None]
"""Called with an open directory, the path of what goes, and whether it is a leftover of ours."""


class Sweep(Value, frozen=True):
    """Finds what goes; `remove` decides how (or only counts)."""

    target: Target
    hands: Hands
    existing: Existing
    remove: Remove

    def run(self, stream: Stream, entries: Iterable[Entry]) -> None:
        """`entries` are all those of the stream. What is found is removed listing by listing, each when it is known whole."""
        for _ in self.steps(stream, entries):
            pass

    def steps(self, stream: Stream, entries: Iterable[Entry]) -> Iterator[None]:
        """As `run`, directory by directory."""
        listing: Path | None = () if not stream.base else None
        names: set[bytes] = set()
        waiting: set[Path] = set()
        for entry in entries:
            if entry.parent != listing:
                if listing is not None:
                    self._leave(stream, listing, names)
                    yield
                listing, names = entry.parent, set()
                waiting.discard(listing)
            names.add(entry.name)
            if entry.type is FileType.DIRECTORY:
                waiting.add(entry.path)
        if listing is not None:
            self._leave(stream, listing, names)
            yield
        for path in waiting:
            self._leave(stream, path, set())
            yield

    def _leave(self, stream: Stream, path: Path, expected: set[bytes]) -> None:
        if path[: len(stream.base)] != stream.base:
            return
        try:
            directory = self.hands.directories.open(path)
        except (FileNotFoundError, Invalid):
            return  # a directory on the way to nothing that was chosen
        with directory as folder:
            for name in names_in(folder) - expected - stream.placed.get(path, set()):
                self._judge(stream, folder, (*path, name))

    def _judge(self, stream: Stream, folder: int, path: Path) -> None:
        name = path[-1]
        if self.target.is_own(name, root=len(path) == 1):
            return
        mine = self.target.is_leftover(name) or (self.existing is not Existing.FAIL and name.startswith(TEMPORARY))
        if mine or (self.existing is Existing.MIRROR and stream.takes(path)):
            self.remove(folder, path, mine)
