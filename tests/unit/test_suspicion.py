"""When a point looks as if its source was emptied, lost or encrypted: a table, and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup.suspicion import LEAST_BYTES, LEAST_FILES, Earlier, Figures, Thresholds, find_suspicion

MIB = 1 << 20
USUAL = Earlier(files=1000, bytes_total=100 * MIB, bytes_new=200 * MIB, bytes_stored=80 * MIB)
PACKED = Earlier(files=1000, bytes_total=100 * MIB, bytes_new=200 * MIB, bytes_stored=199 * MIB)


def figures(files: int = 1000, total: int = 100 * MIB, stored: int = 0, new: int | None = 0, before: Earlier | None = USUAL) -> Figures:
    return Figures(files=files, bytes_total=total, bytes_stored=stored, bytes_new=new, before=before)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        pytest.param(figures(), None, id="as it was"),
        pytest.param(figures(files=0, total=0), "SourceEmpty", id="empty"),
        pytest.param(figures(files=0, total=0, before=Earlier(1, 0, 0, 0)), "SourceEmpty", id="the one empty file is gone"),
        pytest.param(figures(files=1000, total=0), "SourceEmpty", id="every file emptied"),
        pytest.param(figures(files=0, total=0, before=Earlier(0, 0, 0, 0)), None, id="was empty before"),
        pytest.param(figures(total=51 * MIB), None, id="a little less than half is gone"),
        pytest.param(figures(total=50 * MIB), "SourceShrunk", id="half of the bytes are gone"),
        pytest.param(figures(files=501), None, id="nearly half of the files are gone"),
        pytest.param(figures(files=500), "SourceShrunk", id="half of the files are gone"),
        pytest.param(figures(files=10, total=10, before=Earlier(10, LEAST_BYTES - 1, 1, 1)), None, id="too small for its bytes"),
        pytest.param(figures(files=1, total=100, before=Earlier(LEAST_FILES - 1, 100, 1, 1)), None, id="too few files for their number"),
        pytest.param(figures(new=25 * MIB, stored=25 * MIB), "NoLongerCompressible", id="a quarter encrypted"),
        pytest.param(figures(new=24 * MIB, stored=24 * MIB), None, id="less than a quarter written anew"),
        pytest.param(figures(new=90 * MIB, stored=80 * MIB), None, id="it still compresses"),
        pytest.param(figures(new=90 * MIB, stored=90 * MIB, before=PACKED), None, id="it never compressed"),
        pytest.param(figures(files=9, total=MIB, new=MIB - 1, stored=MIB, before=Earlier(9, MIB, 9 * MIB, MIB)), None, id="too little"),
        pytest.param(figures(files=0, total=0, before=None), None, id="the first"),
        pytest.param(figures(new=None, stored=99 * MIB), None, id="a record that does not say what was new"),
    ],
)
def test_what_is_suspicious(now: Figures, reason: str | None) -> None:
    found = find_suspicion(now, Thresholds())
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("now", "asked"),
    [
        (figures(total=70 * MIB), Thresholds(lost_bytes=30)),
        (figures(files=900), Thresholds(lost_files=10)),
        (figures(new=5 * MIB, stored=5 * MIB), Thresholds(rewritten=5)),
        (figures(new=50 * MIB, stored=40 * MIB), Thresholds(stored_share=80)),
    ],
    ids=["bytes", "files", "rewritten", "stored share"],
)
def test_each_threshold_decides(now: Figures, asked: Thresholds) -> None:
    assert find_suspicion(now, Thresholds()) is None
    assert find_suspicion(now, asked) is not None


def test_it_says_the_figures_before_and_now() -> None:
    found = find_suspicion(figures(files=3, total=7 * MIB), Thresholds())
    assert found is not None
    assert found.message == "93 % of the bytes are gone: 1000 files of 104857600 bytes before, 3 files of 7340032 bytes now"
    found = find_suspicion(figures(new=50 * MIB, stored=51 * MIB), Thresholds())
    assert found is not None
    assert found.message.startswith("50 % of the source (52428800 bytes) was written anew and is stored in 100 % of its size")


COUNTS = st.integers(0, 1 << 45)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_what_grows_or_stays_and_stores_nothing_new_is_never_suspicious(
    files: int, size: int, more: int, larger: int, new: int, stored: int
) -> None:
    before = Earlier(files, size, new, stored)
    assert find_suspicion(Figures(files + more, size + larger, 0, 0, before), Thresholds()) is None


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.integers(1, 100), st.integers(1, 100))
def test_a_lower_threshold_finds_no_less(files: int, size: int, now: int, left: int, low: int, high: int) -> None:
    low, high = sorted((low, high))
    one = Figures(now, left, 0, 0, Earlier(files, size, 0, 0))
    strict, lax = Thresholds(lost_bytes=low, lost_files=low), Thresholds(lost_bytes=high, lost_files=high)
    if find_suspicion(one, lax) is not None:
        assert find_suspicion(one, strict) is not None
