"""Writing checkpoints dies, or loses answers, at every call of the store: readers see the same log, and the next time succeeds."""

from __future__ import annotations

from contextlib import suppress

import pytest

from recoup.engine.log.checkpoint import EVERY
from recoup.engine.maintenance.checkpoints import audit, extend
from recoup.errors import RecoupError
from tests.faults.store import Crashed, Fault, FaultStore
from tests.unit.engine.log.histories import History, facts_of

STRIDE = 97
EVERY_CALL = [pytest.param(1, marks=pytest.mark.long), pytest.param(STRIDE, id="some")]


@pytest.fixture(scope="module")
def grown() -> History:
    """Two checkpoints, and one that is due."""
    history = History(seed=5)
    history.grow(2 * EVERY + 2)
    assert history.keep() == 2
    history.grow(3 * EVERY + 3)
    return history


@pytest.mark.parametrize("stride", EVERY_CALL)
@pytest.mark.parametrize("fault", Fault)
def test_stopped_anywhere_nobody_is_misled(grown: History, fault: Fault, stride: int) -> None:
    """`audit`, as prune does it, which reads everything."""
    whole, signer = facts_of(grown.fresh(checkpoints=False)), grown.vault.maintenance.signer
    quiet = FaultStore(grown.store.copy())
    assert audit(grown.reader(quiet), signer) == 1
    calls = [*range(list(Fault).index(fault), len(quiet.calls) - 6, stride), *range(len(quiet.calls) - 6, len(quiet.calls))]
    for call in calls:
        store = grown.store.copy()
        with suppress(RecoupError, Crashed):
            audit(grown.reader(FaultStore(store, {call: fault})), signer)
        assert facts_of(grown.fresh(store)) == whole
        assert audit(grown.reader(store), signer) in {0, 1}
        assert (facts_of(grown.fresh(store)), grown.fresh(store).base) == (whole, 3 * EVERY)


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.long), pytest.param(31, id="some")])
@pytest.mark.parametrize("fault", Fault)
def test_the_short_way_is_as_safe(grown: History, fault: Fault, stride: int) -> None:
    """`extend`, as forget does it, at every call."""
    whole, signer = facts_of(grown.fresh(checkpoints=False)), grown.vault.maintenance.signer
    log = grown.reader(quiet := FaultStore(grown.store.copy()))
    log.follow()
    assert extend(log, signer) == 1
    for call in range(list(Fault).index(fault), len(quiet.calls), stride):
        store = grown.store.copy()
        with suppress(RecoupError, Crashed):
            extend(grown.reader(FaultStore(store, {call: fault})), signer)
        assert facts_of(grown.fresh(store)) == whole
        extend(grown.reader(store), signer)
        assert (facts_of(grown.fresh(store)), grown.fresh(store).base) == (whole, 3 * EVERY)
