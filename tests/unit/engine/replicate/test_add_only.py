"""Copies of what somebody else controls: who has all keys of the home makes nothing unreadable that was copied, nor lets it go.

Without --add-only a copy follows its home, as a policy's replicas are to; the first test shows that, too.
"""

from __future__ import annotations

import os

import pytest

from recoup.engine.format.names import log_name
from recoup.engine.log.bodies import Open, Pin, Replace, Unpin
from recoup.engine.maintenance.repack import repack
from recoup.engine.records.nodes import Locator
from recoup.errors import RecoupError
from recoup.report import Progress
from tests.fakes.memory_store import MemoryStore
from tests.unit.engine.backup.volume import picture
from tests.unit.engine.replicate.copies import Copies, claims
from tests.unit.engine.replicate.tidied import forget, shrink, sweep, tidied

copies = tidied


def first_of(copies: Copies) -> bytes:
    return next(iter(copies.state(copies.home.store).commits))


@pytest.mark.parametrize("add_only", [True, False])
def test_a_point_that_is_said_to_consist_of_other_objects_stays_as_it_was_copied(copies: Copies, add_only: bool) -> None:
    """Then what no point needs is pruned at the copy, so that it would be gone for good."""
    first, wanted = first_of(copies), picture(copies.home.source)
    copies.replicate(add_only=add_only)
    newer = bytes.fromhex(shrink(copies))
    thief = copies.open(copies.home.store)
    known, other = thief.log.state.commits[first], thief.log.state.commits[newer]
    session = os.urandom(len(known.body.session))
    opened = thief.log.append(Open(session, b"", 1 << 20), thief.writer.signer).head.seq
    planted = Replace(first, known.named_at, session, opened, Locator(newer, 0, 0), other.body.object_set)
    thief.log.append(planted, thief.writer.signer)
    copies.replicate(add_only=add_only)
    assert bool(sweep(copies.open(copies.store))) is not add_only
    if add_only:
        assert picture(copies.volume().restore(first.hex())) == wanted
        assert claims(copies, copies.store) == []
        assert copies.replicate(add_only=True).entries == 0
    else:
        with pytest.raises(RecoupError):
            copies.volume().restore(first.hex())


def test_a_point_that_was_repacked_there_before_it_was_copied_is_copied_as_it_is_now(copies: Copies) -> None:
    first, second = first_of(copies), shrink(copies)
    vault = forget(copies, copies.home.store, first)
    assert repack(vault, 0.1, Progress(quiet=True), pack_bytes=copies.home.pack_bytes).points
    assert sweep(vault)
    copies.home.vault = vault
    assert copies.replicate(add_only=True).points == [second]
    assert claims(copies, copies.store) == []
    assert picture(copies.volume().restore(second)) == picture(copies.home.source)


def test_killed_between_a_commit_and_the_replace_that_it_needs_the_next_run_completes_it(copies: Copies) -> None:
    """The point is in the log then with a set that was never copied: this REPLACE takes nothing away."""
    first, second = first_of(copies), shrink(copies)
    vault = forget(copies, copies.home.store, first)
    assert repack(vault, 0.1, Progress(quiet=True), pack_bytes=copies.home.pack_bytes).points
    assert sweep(vault)
    copies.home.vault = vault
    whole = MemoryStore("memory://whole")
    copies.replicate(target=whole, add_only=True)
    last = copies.state(whole).next_seq - 1
    copies.store = MemoryStore("memory://copy")
    copies.store.objects = {name: data for name, data in whole.objects.items() if name != log_name(copies.vault_id, last)}
    assert copies.state().next_seq == last
    assert copies.state().commits[bytes.fromhex(second)].replaced is None
    copies.replicate(add_only=True)
    assert copies.state().commits[bytes.fromhex(second)].replaced is not None
    assert claims(copies, copies.store) == []


def test_a_pin_of_there_holds_here_and_stays_when_it_is_taken_back_there(copies: Copies) -> None:
    first = first_of(copies)
    copies.replicate(add_only=True)
    vault = copies.open(copies.home.store)
    vault.log.append(Pin(first, "audit"), vault.maintenance.signer)
    copies.replicate(add_only=True)
    assert first in copies.state().pinned
    vault.log.append(Unpin(first, "no more"), vault.maintenance.signer)
    copies.replicate(add_only=True)
    assert first in copies.state().pinned
    copies.replicate()
    assert first not in copies.state().pinned, "without --add-only it is taken back here, too"
