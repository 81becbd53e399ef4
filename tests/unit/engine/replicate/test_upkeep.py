"""Copies of a vault that is tidied up: what was swept there comes back under the next incarnation."""

from __future__ import annotations

from tests.unit.engine.backup.volume import picture
from tests.unit.engine.replicate.copies import Copies, claims
from tests.unit.engine.replicate.tidied import forget, sweep, tidied

copies = tidied


def test_what_was_swept_at_the_copy_comes_back_under_the_next_incarnation(copies: Copies) -> None:
    """The copy forgets a point; a later one at the home needs the same objects again."""
    first = next(iter(copies.state(copies.home.store).commits))
    copies.replicate()
    assert sweep(forget(copies, copies.store, first))
    (copies.home.source / "more").write_bytes(b"more")
    second = copies.home.back_up().id
    done = copies.replicate()
    assert done.points == [second]
    assert copies.state().commits[bytes.fromhex(second)].body.incarnations
    assert claims(copies, copies.store) == []
    assert picture(copies.volume().restore(second)) == picture(copies.home.source)
    (copies.home.source / "again").write_bytes(b"again")
    third = copies.home.back_up().id
    assert copies.replicate().copied.objects < 12  # it inherits the incarnations of the second
    assert picture(copies.volume().restore(third)) == picture(copies.home.source)
    assert claims(copies, copies.store) == []
