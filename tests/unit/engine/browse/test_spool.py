"""Sorting in a file: whatever is added comes back sorted, over any number of runs and merges."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup.engine.browse import spool
from recoup.engine.browse.spool import Spool


@settings(max_examples=50)
@given(rows=st.lists(st.binary(max_size=40)), run=st.integers(65, 1000))
def test_everything_comes_back_sorted(rows: list[bytes], run: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Spool() as spooled:
        patch.setattr(spool, "RUN_BYTES", run)
        patch.setattr(spool, "FAN_IN", 2)
        for row in rows:
            spooled.add(row)
        assert list(spooled.merged()) == sorted(rows)


def test_rows_longer_than_a_chunk_and_many_merges() -> None:
    with pytest.MonkeyPatch.context() as patch, Spool() as spooled:
        patch.setattr(spool, "RUN_BYTES", 1)
        patch.setattr(spool, "FAN_IN", 3)
        rows = [bytes([number % 251]) * (number * 977 % 40_000) for number in range(100)]
        for row in rows:
            spooled.add(row)
        assert list(spooled.merged()) == sorted(rows)
