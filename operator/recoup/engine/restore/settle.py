"""Last pass: everything in the target is compared with the tree, directories get their attributes, strangers are found.

The walk stays in one thread; files are compared in batches by the others. Also answers, for a target that was not empty, whether it holds
exactly this recovery point already.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby

from recoup.engine.blocks import Blocks
from recoup.engine.records.content import Run, Scheme, iterate_runs
from recoup.engine.records.tree import Entry, FileType, Path, printable
from recoup.engine.restore.compare import DIFFERS, Comparer, Missing, differs
from recoup.engine.restore.files import Hands
from recoup.engine.restore.late import restorable
from recoup.engine.restore.making import MAKING
from recoup.engine.restore.target import Target, names_in
from recoup.errors import Integrity, Invalid
from recoup.report import Progress

THREADS = 2
BATCH_FILES = 128
BATCH_RUNS = 64
_AHEAD = 8


def _parent(entry: Entry) -> Path:
    return entry.parent


class SettlePass:
    """Compares the whole target with the tree. Raises Integrity (ReadBackDiffers) for the first thing that is not as recorded."""

    def __init__(
        self, target: Target, hands: Hands, blocks: Blocks, progress: Progress, comparer: Comparer, *, lenient: bool = False
    ) -> None:
        """`lenient`: names that the recovery point does not have may be there."""
        self._target, self._hands, self._blocks, self._progress, self._lenient = target, hands, blocks, progress, lenient
        self._comparer = comparer
        self._base: Path = ()
        self._placed: Mapping[Path, set[bytes]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="compare")
        self._ahead: deque[Future[None]] = deque()
        self._batch: list[Entry] = []
        self._listing: Path | None = None
        self._names: set[bytes] = set()
        self._filled: set[Path] = set()
        """Directories that hold something and whose listing has not come yet."""
        self._awkward: list[Entry] = []
        self._turn = threading.Lock()
        """Small files are compared by one thread at a time: short calls of several would only hand the interpreter to and fro."""

    def run(self, entries: Iterable[Entry], base: Path = (), placed: Mapping[Path, set[bytes]] | None = None) -> None:
        """All entries of one stream (selection.py), which speaks for what is at and below `base`, but for the names `placed` there."""
        self._base, self._placed = base, placed or {}
        try:
            if not base:
                self._enter(())
            for entry in entries:
                if entry.parent != self._listing:
                    self._leave()
                    self._enter(entry.parent)
                self._names.discard(entry.name)
                self._entry(entry)
            self._leave()
            self._drain(0)
            for entry in reversed(self._awkward):
                self._directory(entry)
            for path in self._filled:
                raise Integrity(f"{printable(path)} is an empty directory in the recovery point, not so here", reason=DIFFERS)
        finally:
            for future in self._ahead:
                future.cancel()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _entry(self, entry: Entry) -> None:
        try:
            self._compare(entry)
        except (Missing, FileNotFoundError):
            self._is_missing(entry)

    def _is_missing(self, entry: Entry) -> None:
        if not self._hands.outcome.damaged.total:  # else it is one of those, noted before
            raise differs(entry, "it is missing")

    def _compare(self, entry: Entry) -> None:
        if entry.type is FileType.DIRECTORY:
            if entry.implied and not self._is_new(entry):
                return
            if not (self._lenient or entry.implied):
                with self._hands.directories.open(entry.path) as folder:
                    if names_in(folder):
                        self._filled.add(entry.path)
            if self._hands.unreadable_later and entry.mode & 0o700 != 0o700:
                self._awkward.append(entry)  # once it has its mode we may not look into it
            else:
                self._directory(entry)
        elif entry.type is FileType.REGULAR:
            self._file(entry)
        elif restorable(entry, self._hands):
            with self._hands.directories.open(entry.parent) as folder:
                self._comparer.other(folder, entry)
            self._progress.advance(files=1)

    def _is_new(self, entry: Entry) -> bool:
        """Of a directory on the way to what was chosen: whether this restore made it, so that it gets its attributes."""
        try:
            with self._hands.directories.open(entry.path) as folder:
                return os.fstat(folder).st_mode & 0o7777 == MAKING
        except (FileNotFoundError, Invalid):  # it leads to nothing that was chosen
            return False

    def _directory(self, entry: Entry) -> None:
        with self._hands.directories.open(entry.parent) as folder:
            self._comparer.directory(folder, entry)

    def _file(self, entry: Entry) -> None:
        if entry.content is not None and entry.content.root:
            self._flush()
            self._large(entry)
            return
        self._batch.append(entry)
        if len(self._batch) >= BATCH_FILES:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            self._submit(self._pool.submit(self._files, batch))

    def _files(self, batch: list[Entry]) -> None:
        compared = 0
        with self._turn:
            for parent, group in groupby(batch, _parent):
                with self._hands.directories.open(parent) as folder:
                    for entry in group:
                        try:
                            compared += self._comparer.file(folder, entry)
                        except Missing:
                            self._is_missing(entry)
        self._hands.outcome.count(compared=compared)
        self._progress.advance(data=sum(entry.size for entry in batch), files=len(batch))

    def _large(self, entry: Entry) -> None:
        """A file with a content list: its runs are compared in parts by several threads, its holes with its attributes."""
        content = entry.content
        assert content is not None
        with self._hands.directories.open(entry.parent) as folder:
            if not self._comparer.is_new(folder, entry):
                return
        runs: list[Run] = []
        spans: list[tuple[int, int]] = []
        end = 0
        for run in iterate_runs(self._blocks.fetch, content):
            if run.offset > end:
                spans.append((end, run.offset))
            end = run.offset + run.length
            runs.append(run)
            if len(runs) >= BATCH_RUNS:
                self._submit(self._pool.submit(self._part, entry, content.scheme, runs))
                runs = []
        if end < entry.size:
            spans.append((end, entry.size))
        self._submit(self._pool.submit(self._part, entry, content.scheme, runs))
        if self._hands.unreadable_later:
            self._drain(0)  # with its attributes it may become unreadable
        self._submit(self._pool.submit(self._rest, entry, spans))

    def _part(self, entry: Entry, scheme: Scheme, runs: list[Run]) -> None:
        with self._hands.directories.open(entry.parent) as folder:
            self._comparer.runs(folder, entry, runs, scheme)
        self._progress.advance(data=sum(run.length for run in runs))

    def _rest(self, entry: Entry, holes: list[tuple[int, int]]) -> None:
        with self._hands.directories.open(entry.parent) as folder:
            self._comparer.rest(folder, entry, holes)
        self._progress.advance(data=sum(end - start for start, end in holes), files=1)

    def _submit(self, future: Future[None]) -> None:
        self._ahead.append(future)
        self._drain(_AHEAD)

    def _drain(self, left: int) -> None:
        if not left:
            self._flush()
        while len(self._ahead) > left:
            self._ahead.popleft().result()

    def _enter(self, path: Path) -> None:
        self._listing = path
        self._filled.discard(path)
        self._names = set()
        if self._lenient or path[: len(self._base)] != self._base:
            return
        try:
            with self._hands.directories.open(path) as folder:
                self._names = names_in(folder) - self._placed.get(path, set())
        except FileNotFoundError:
            return  # a directory on the way to nothing that was chosen

    def _leave(self) -> None:
        """What is left of a directory's names is not in the recovery point."""
        path = self._listing
        if path is None:
            return
        for name in self._names:
            if not (self._target.is_own(name, root=not path) or self._target.is_leftover(name)):
                raise Integrity(f"{printable((*path, name))} is not in the recovery point", reason=DIFFERS)
