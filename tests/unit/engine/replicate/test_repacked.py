"""Points that were repacked at the home: their first object sets are swept there, and copies follow what they are now."""

from __future__ import annotations

import pytest

from recoup.engine.maintenance.repack import repack
from recoup.report import Progress
from tests.unit.engine.backup.volume import picture
from tests.unit.engine.replicate.copies import Copies, claims
from tests.unit.engine.replicate.tidied import forget, shrink, sweep, tidied

copies = tidied


@pytest.mark.parametrize("copied_before", [True, False])
def test_a_repacked_point_is_copied_as_it_is_now(copies: Copies, copied_before: bool) -> None:
    first = next(iter(copies.state(copies.home.store).commits))
    second = shrink(copies)
    if copied_before:
        copies.replicate()
    vault = forget(copies, copies.home.store, first)
    assert repack(vault, 0.1, Progress(quiet=True), pack_bytes=copies.home.pack_bytes).points
    assert sweep(vault)
    copies.home.vault = vault
    done = copies.replicate()
    assert done.points == [second]
    assert not done.lost
    assert claims(copies, copies.store) == []
    assert copies.state().commits[bytes.fromhex(second)].replaced is not None
    assert picture(copies.volume().restore(second)) == picture(copies.home.source)
    assert copies.replicate().entries == 0
