"""An interrupt does not wait for the network, and nobody writes afterwards: the target's descriptors are closed then."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from recoup.engine.blocks import Objects
from recoup.engine.log.bodies import ObjectRef
from recoup.engine.restore import packs
from recoup.engine.restore.gate import Gate
from recoup.engine.restore.packs import Workers
from recoup.engine.restore.plan import PackJob
from recoup.errors import Cancelled

PATIENCE = 30
SLOW, FAST = ObjectRef(b"slow" * 8), ObjectRef(b"fast" * 8)


class Network:
    """Gives one block when it is let, and is interrupted while it does."""

    parallelism = 2

    def __init__(self) -> None:
        self.asked, self.answers = threading.Event(), threading.Event()

    def whole(self, _kind: object, ref: ObjectRef, _buffer: memoryview) -> ObjectRef:
        return ref

    def read(self, ref: ObjectRef, *_more: object) -> bytes:
        if ref == FAST:
            assert self.asked.wait(PATIENCE)
            raise KeyboardInterrupt
        self.asked.set()
        assert self.answers.wait(PATIENCE)
        return b"plain"


class Target:
    """Counts who writes."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, _plain: memoryview, _feeds: Any) -> None:
        self.writes += 1

    def lose(self, _pending: object, _damage: str) -> None:
        self.writes += 1


def test_nobody_writes_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    network, target = Network(), Target()
    monkeypatch.setattr(packs, "read_checked", network.read)
    workers = Workers(cast("Objects", network), bytes(32), target)
    before = set(threading.enumerate())
    workers.submit([PackJob(ref, {0: (bytes(32), [])}, wanted=1 << 30) for ref in (FAST, SLOW)])
    with pytest.raises(KeyboardInterrupt):
        workers.wait()
    workers.close()
    network.answers.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert target.writes == 0


def test_a_shut_gate_waits_for_those_inside_and_lets_nobody_in() -> None:
    gate, entered, leave, out = Gate(), threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        with gate.inside():
            entered.set()
            assert leave.wait(PATIENCE)
            out.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert entered.wait(PATIENCE)
    shutter = threading.Thread(target=gate.shut)
    shutter.start()
    leave.set()
    shutter.join(PATIENCE)
    assert not shutter.is_alive()
    assert out.is_set()
    with pytest.raises(Cancelled), gate.inside():
        pass
    writer.join(PATIENCE)
