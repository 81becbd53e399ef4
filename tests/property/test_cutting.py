"""How data is cut: chunks join to the file, cuts depend on content, groups and leaves re-form where a directory moves."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from recoup.engine.backup import contents
from recoup.engine.backup.units import GROUP_BYTES, GROUP_LEAST, GROUP_MOST, ends_group
from recoup.engine.records.content import UNIT, Content, Run, Scheme, check_units, iterate_runs, unit_spans
from recoup.engine.source.files import data_extents
from tests.unit.engine.backup.volume import Volume, fill, picture


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume.make(tmp_path)


def chunks(data: bytes, seed: int) -> list[int]:
    chunker = FastCDC(1 << 20, min_size=contents.CHUNK_LEAST, max_size=contents.CHUNK_MOST, normalized_chunking=1, seed=seed)
    return [chunk.length for chunk in chunker.cut_buf(data)]


BOUNDARIES = [2675764, 1177267, 1730044, 1393800, 1411733]
"""Of 8 MiB of SHAKE-256("boundaries"), seed 12345: boundaries are format, so they may never change."""


def test_boundaries_are_format() -> None:

    data = hashlib.shake_256(b"boundaries").digest(8 << 20)
    assert chunks(data, 12345) == BOUNDARIES
    assert chunks(data, 54321) != BOUNDARIES, "the vault's key decides them"


def test_reading_in_pieces_cuts_as_reading_at_once(volume: Volume) -> None:
    """Chunks do not depend on the reader's buffer, and join to the file."""
    data = random.Random(3).randbytes(21 << 20)
    (volume.source / "large").write_bytes(data)
    result = volume.back_up()
    opened = volume.open(result.id)
    content = volume.entries(result.id)[b"large"].content
    assert content is not None
    runs = list(iterate_runs(opened.blocks.fetch, content))
    seed = int.from_bytes(volume.vault.writer.gear_seed[:8], "big") >> 1
    assert [run.length for run in runs] == chunks(data, seed)
    assert [run.offset for run in runs] == [sum(run.length for run in runs[:n]) for n in range(len(runs))]


def test_an_insertion_changes_the_chunks_around_it_alone(volume: Volume) -> None:
    data = random.Random(4).randbytes(30 << 20)
    path = volume.source / "large"
    path.write_bytes(data)
    volume.back_up()
    path.write_bytes(data[: 15 << 20] + b"inserted" + data[15 << 20 :])
    assert volume.back_up().bytes_stored < 9 << 20, "one or two chunks, then the old cuts again"


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, 256 << 10)), min_size=50, max_size=400))
@settings(max_examples=30, suppress_health_check=[HealthCheck.large_base_example, HealthCheck.too_slow, HealthCheck.data_too_large])
def test_groups_stay_within_their_bounds(units: list[tuple[bytes, int]]) -> None:
    length = 0
    for unit, size in units:
        if length and length + size > GROUP_MOST:
            length = 0
        length += size
        assert length <= GROUP_MOST
        if ends_group(unit, size, length):
            assert length >= GROUP_LEAST
            length = 0


def test_groups_are_about_a_mebibyte() -> None:
    rng = random.Random(1)
    lengths, length = [], 0
    for _ in range(200_000):
        size = rng.randrange(2048, 20_480)
        length += size
        if ends_group(rng.randbytes(32), size, length) or length > GROUP_MOST:
            lengths.append(length)
            length = 0
    assert 0.8 * GROUP_BYTES < sum(lengths) / len(lengths) < 1.2 * GROUP_BYTES


def test_a_moved_directory_forms_the_same_groups_and_contents(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another vault's eyes: no cache, no units in memory, yet nearly all blocks are found by their ids."""
    fill(volume.source / "here", files=600, seed=9)
    first = volume.back_up()
    other = Volume(volume.source.parent / "elsewhere", volume.vault)
    (other.source / "some/where").mkdir(parents=True)
    (volume.source / "here").rename(other.source / "some/where/else")
    second = other.back_up(source=other.source)
    assert any("no earlier" in note for note in second.notes)
    assert second.bytes_stored < first.bytes_stored / 4


@given(
    st.integers(0, 10 * UNIT),
    st.integers(1, 10 * UNIT),
)
def test_fixed_units_are_the_parts_of_aligned_spans(offset: int, length: int) -> None:
    count = -(-(offset + length) // UNIT) - offset // UNIT
    run = Run(offset, length, bytes(32), 0, b"".join(n.to_bytes(32, "big") for n in range(count)))
    check_units(run, Scheme.FIXED)
    spans = list(unit_spans(run, Scheme.FIXED))
    assert len(spans) == count
    assert spans[0][0] == offset
    assert sum(size for _, size, _ in spans) == length
    assert all(begin % UNIT == 0 for begin, _, _ in spans[1:])
    assert [int.from_bytes(unit, "big") for _, _, unit in spans] == list(range(count))


def pieces() -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), max_size=8)


@given(pieces(), pieces(), st.integers(1, 500 * 4096))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sparse_files_come_back_with_their_holes(
    tmp_path_factory: pytest.TempPathFactory, first: Pieces, second: Pieces, size: int
) -> None:
    """Any pattern of holes, then any change of it."""
    volume = Volume.make(tmp_path_factory.mktemp("sparse"))
    path = volume.source / "sparse"
    for pattern in (first, second):
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(size)
            for page, count in pattern:
                if page * 4096 < size:
                    file.seek(page * 4096)
                    file.write(os.urandom(min(count * 4096, size - page * 4096)))
        result = volume.back_up()
        restored = volume.restore(result.id)
        assert picture(restored) == picture(volume.source)
        assert list(extents(restored / "sparse")) == list(extents(path))


Pieces = list[tuple[int, int]]


def extents(path: Path) -> Iterator[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield from data_extents(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def test_a_content_without_runs_is_a_hole() -> None:
    assert list(iterate_runs(lambda _block, _kind: b"", Content(5, Scheme.FIXED))) == []
