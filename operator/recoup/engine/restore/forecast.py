"""What a restore would do, without doing it: `recoup restore --plan`. Compares as the restore does and changes nothing.

Bytes to fetch are counted as the restore would fetch them: pack by pack, in its windows, whole or by ranges.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from msgspec import field

from recoup.engine.blocks import RANGED_BELOW
from recoup.engine.browse.sets import Sizes
from recoup.engine.format.kinds import BlockKind, Kind
from recoup.engine.log.sets import StoredSets
from recoup.engine.points import OpenPoint, with_incarnation
from recoup.engine.records.content import Run, iterate_runs
from recoup.engine.records.nodes import ObjectRef
from recoup.engine.records.tree import Entry, FileType, Path
from recoup.engine.restore.beneath import Directories
from recoup.engine.restore.device import device_content
from recoup.engine.restore.files import Hands
from recoup.engine.restore.late import restorable
from recoup.engine.restore.orders import Existing, Orders
from recoup.engine.restore.outcome import Notes, Outcome
from recoup.engine.restore.places import open_place
from recoup.engine.restore.plan import PackJob, Pending, Planner
from recoup.engine.restore.selection import Selection, parse_path
from recoup.engine.restore.spans import dirt
from recoup.engine.restore.survey import Basis, State, Survey, compare_runs
from recoup.engine.restore.sweep import Sweep
from recoup.engine.restore.target import Found, Target, names_in
from recoup.engine.restore.tree import chosen_totals, hands_for
from recoup.errors import Invalid
from recoup.report import Progress
from recoup.value import Record

_BLOCK = 1 << 20
"""About what one block has: what a range costs at least."""


class Tally(Record):
    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


class Forecast(Record):
    """Counts of one restore that has not been made. Bytes are bytes of content, but for `fetch_bytes`, which are stored ones."""

    source: str
    """Where from."""
    target: str
    new: Tally = field(default_factory=Tally)
    replaced: Tally = field(default_factory=Tally)
    """Something else stands there and gives way."""
    changed: Tally = field(default_factory=Tally)
    """Changed in place; bytes are those that differ."""
    attributes: Tally = field(default_factory=Tally)
    """Content is right already, only owner, mode, times or attributes are set."""
    same: Tally = field(default_factory=Tally)
    deleted: Notes = field(default_factory=Notes)
    overwritten: Notes = field(default_factory=Notes)
    """Paths of what is replaced or changed."""
    conflicts: Notes = field(default_factory=Notes)
    """What would make the restore fail."""
    fetch_bytes: int = 0
    packs: int = 0
    rate: float = 0.0
    """Stored bytes a second, measured by fetching one of the packs; 0 if none is needed."""
    eta: float = 0.0
    """Seconds to fetch at that rate."""

    @property
    def bytes_written(self) -> int:
        return self.new.bytes + self.replaced.bytes + self.changed.bytes


class Fetches:
    """Adds up what would be fetched."""

    def __init__(self, point: OpenPoint, forecast: Forecast) -> None:
        self._point, self._forecast = point, forecast
        sets = StoredSets(point.objects.store, point.objects.keys.identity.vault_id)
        self._sizes = Sizes(sets, with_incarnation(point.commit.body, point.commit.body.object_set))
        self._planner = Planner()
        self._sample: ObjectRef | None = None

    def add(self, entry: Entry, run: Run) -> None:
        self._planner.add(Pending(entry, b""), run, self._point.blocks.refs.lookup(run.block))
        if self._planner.full:
            self._count(self._planner.take())

    def end(self) -> None:
        """Count the rest, and measure how fast the location is."""
        self._count(self._planner.take(everything=True))
        if self._sample is None:
            return
        began = time.monotonic()
        reader = self._point.objects.whole(Kind.DATA, self._sample)
        reader.check_padding()
        size = self._sizes.of(self._sample)
        self._forecast.rate = size / max(time.monotonic() - began, 1e-6)
        self._forecast.eta = self._forecast.fetch_bytes / self._forecast.rate if self._forecast.rate else 0.0

    def _count(self, jobs: list[PackJob]) -> None:
        for job in jobs:
            size = self._sizes.of(job.object)
            self._forecast.packs += 1
            ranged = job.wanted < RANGED_BELOW and not job.alone
            self._forecast.fetch_bytes += min(size, len(job.blocks) * _BLOCK) if ranged else size
            self._sample = job.object


def foresee_tree(point: OpenPoint, path: str, orders: Orders, progress: Progress) -> Forecast:
    """As restore_tree, but only looking. Raises Invalid (TargetNotEmpty, NothingChosen, …)."""
    selection = Selection(orders.choice)
    totals = chosen_totals(point, selection)
    forecast = Forecast(point.objects.store.url, f"{path}/{orders.into}" if orders.into else path)
    progress.start("planning", bytes_total=totals.bytes, files_total=totals.files)
    fd = _open_as_it_is(path, orders.into)
    fetches = Fetches(point, forecast)
    if fd is None:
        _TreeForecast(point, orders, forecast, fetches, None, progress).run(selection)
    else:
        with Target(forecast.target, orders.mark(point.id), fd) as target:
            _TreeForecast(point, orders, forecast, fetches, target, progress).run(selection)
    fetches.end()
    return forecast


class _TreeForecast:
    def __init__(
        self, point: OpenPoint, orders: Orders, forecast: Forecast, fetches: Fetches, target: Target | None, progress: Progress
    ) -> None:
        self._point, self._orders, self._forecast, self._fetches, self._target = point, orders, forecast, fetches, target
        self._progress = progress
        self._found = target.inspect() if target is not None else Found.EMPTY
        self._hands: Hands | None = None
        self._survey: Survey | None = None
        self._groups: dict[int, Entry] = {}

    def run(self, selection: Selection) -> None:
        directories = None
        if self._target is not None and self._found is not Found.EMPTY:
            directories = Directories(self._target.fd)
            self._hands = hands_for(self._point, directories, self._orders, Outcome(), inherits=True)
            self._survey = Survey(self._hands, self._point.blocks.id_key, self._point.blocks.fetch)
        try:
            for entry in selection.entries(self._point.blocks.fetch, self._point.manifest.tree):
                self._entry(entry)
                self._progress.advance(data=entry.size, files=int(entry.type is not FileType.DIRECTORY))
            self._strangers(selection)
        finally:
            if directories is not None:
                directories.close()
        self._refuse()

    def _entry(self, entry: Entry) -> None:
        if entry.implied:
            return
        if entry.type is FileType.DIRECTORY:
            self._directory(entry)
        elif entry.group and self._groups.setdefault(entry.group, entry) is not entry:
            self._other(entry)
        elif entry.type is FileType.REGULAR:
            self._file(entry)
        else:
            self._other(entry)

    def _directory(self, entry: Entry) -> None:
        mode = self._mode(entry)
        if mode is not None and not stat.S_ISDIR(mode):
            self._give_way(entry)

    def _file(self, entry: Entry) -> None:
        if self._survey is None:
            self._write(entry, self._forecast.new)
        elif entry.content is not None and entry.content.root:
            self._large(entry, self._survey)
        else:
            found = self._survey.look(entry)
            self._conflict(entry, directory=found.directory)
            if found.state is State.SAME:
                self._forecast.same.add(entry.size)
            elif found.state is State.ATTRIBUTES:
                self._forecast.attributes.add(entry.size)
            elif found.state is State.PARTS:
                self._change(entry, list(found.lacking))
            else:
                self._write(entry, self._forecast.new if found.state is State.ABSENT else self._forecast.replaced)

    def _large(self, entry: Entry, survey: Survey) -> None:
        basis = survey.basis(entry)
        if not isinstance(basis, Basis):
            self._conflict(entry, directory=basis.directory)
            self._write(entry, self._forecast.new if basis.state is State.ABSENT else self._forecast.replaced)
            return
        try:
            lacking, end, dirty = 0, 0, basis.stat.st_size != entry.size or basis.resumed
            for run, parts in survey.lacking(basis.fd, entry):
                dirty = dirty or any(dirt(basis.fd, end, run.offset))
                end = run.offset + run.length
                for part in parts:
                    lacking += part.length
                    if basis.alone:
                        self._fetches.add(entry, part)
            dirty = dirty or any(dirt(basis.fd, end, entry.size)) or bool(lacking)
            if dirty and not basis.alone:
                self._write(entry, self._forecast.replaced)
            elif dirty:
                self._forecast.changed.add(lacking)
                self._forecast.overwritten.add(entry.path, f"changed in place: {lacking} of {entry.size} bytes differ")
            elif survey.attributes_same(basis.fd, basis.stat, entry):
                self._forecast.same.add(entry.size)
            else:
                self._forecast.attributes.add(entry.size)
        finally:
            basis.close()

    def _change(self, entry: Entry, lacking: list[Run]) -> None:
        size = sum(run.length for run in lacking)
        self._forecast.changed.add(size)
        self._forecast.overwritten.add(entry.path, f"changed in place: {size} of {entry.size} bytes differ")
        for run in lacking:
            self._fetches.add(entry, run)

    def _write(self, entry: Entry, tally: Tally) -> None:
        size = 0
        if entry.content is not None:
            for run in iterate_runs(self._point.blocks.fetch, entry.content):
                size += run.length
                self._fetches.add(entry, run)
        tally.add(size)
        if tally is self._forecast.replaced:
            self._forecast.overwritten.add(entry.path, "replaced")

    def _other(self, entry: Entry) -> None:
        """A symbolic link, a special file, or a further name of a file."""
        if self._hands is not None and not restorable(entry, self._hands):
            return
        mode = self._mode(entry)
        if mode is None:
            self._forecast.new.add(0)
        elif self._same_other(entry):
            self._forecast.same.add(0)
        else:
            self._conflict(entry, directory=stat.S_ISDIR(mode))
            self._forecast.replaced.add(0)
            self._forecast.overwritten.add(entry.path, "replaced")

    def _same_other(self, entry: Entry) -> bool:
        assert self._hands is not None
        assert self._survey is not None
        with self._hands.directories.open(entry.parent) as folder:
            first = self._groups.get(entry.group)
            if first is None or first is entry:
                return self._survey.other_same(folder, entry)
            found = self._status(first)
            here = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
            return found is not None and (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)

    def _mode(self, entry: Entry) -> int | None:
        found = self._status(entry)
        return None if found is None else found.st_mode

    def _status(self, entry: Entry) -> os.stat_result | None:
        if self._hands is None:
            return None
        try:
            with self._hands.directories.open(entry.parent) as folder:
                return os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
        except (FileNotFoundError, Invalid):
            return None

    def _give_way(self, entry: Entry) -> None:
        self._forecast.overwritten.add(entry.path, "a file or link gives way to a directory")
        if self._orders.existing is Existing.FAIL:
            self._forecast.conflicts.add(entry.path, "is no directory")

    def _conflict(self, entry: Entry, *, directory: bool) -> None:
        if directory and not self._orders.existing.clears_directories:
            assert self._hands is not None
            with self._hands.directories.open(entry.path) as folder:
                if names_in(folder):
                    self._forecast.conflicts.add(entry.path, "is a directory that holds something; --existing overwrite lets it give way")

    def _strangers(self, selection: Selection) -> None:
        if self._target is None or self._hands is None:
            return

        def note(_folder: int, path: Path, leftover: bool) -> None:
            if not leftover:
                self._forecast.deleted.add(path, "not in the recovery point")

        existing = Existing.MIRROR if self._orders.existing is Existing.FAIL else self._orders.existing
        sweep = Sweep(self._target, self._hands, existing, note)
        for stream in selection.streams:
            sweep.run(stream, stream.entries(self._point.blocks.fetch, self._point.manifest.tree))

    def _refuse(self) -> None:
        """What the restore itself would refuse is refused here."""
        forecast = self._forecast
        if self._orders.existing is not Existing.FAIL or self._found is Found.EMPTY or self._target is None:
            return
        if self._found is Found.INTERRUPTED:
            forecast.deleted = Notes()
            return
        if forecast.deleted.total or forecast.new.files or forecast.overwritten.total or forecast.attributes.files:
            raise self._target.refuse("it does not hold exactly this")


def foresee_device(point: OpenPoint, path: str, orders: Orders, progress: Progress) -> Forecast:
    """As restore_device, but only looking. Raises Invalid (TargetNotEmpty, TargetTooSmall, …)."""
    content = device_content(point, orders)
    forecast = Forecast(point.objects.store.url, path)
    progress.start("planning", bytes_total=content.size)
    fetches, entry = Fetches(point, forecast), Entry((), os.fsencode(path), FileType.REGULAR, 0, 0, 0, 0, content.size)
    with open_place(path, content.size, orders.mark(point.id), change=False) as place:
        if orders.existing is Existing.FAIL and not place.ours and any(dirt(place.fd, 0, _BLOCK)):
            raise place.occupied()
        differing = 0
        runs = iterate_runs(point.blocks.fetch, content, BlockKind.DEVICE_MAP)
        for run, parts in compare_runs(place.fd, point.blocks.id_key, content.scheme, runs):
            for part in parts:
                differing += part.length
                fetches.add(entry, part)
            progress.advance(data=run.length)
    forecast.changed.add(differing)
    if orders.existing is not Existing.FAIL:
        forecast.overwritten.add((entry.name,), f"changed in place: {differing} of {content.size} bytes differ")
    fetches.end()
    return forecast


def _open_as_it_is(path: str, into: str) -> int | None:
    """The target's descriptor, or None if it is not there."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
        for name in parse_path(into):
            try:
                inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise Invalid(f"target {path}/{into} is no directory, or leads over a link", reason="TargetNotDirectory") from error
        raise
    return fd
