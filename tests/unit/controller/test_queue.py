from __future__ import annotations

import threading

import pytest

from recoup.controller.queue import BACKOFF_LONGEST, DelayingQueue
from tests.unit.controller.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> DelayingQueue[str]:
    return DelayingQueue(clock=clock, jitter=lambda: 1.0, urgent=lambda key: key.startswith("restore"))


def test_a_key_is_in_it_once(queue: DelayingQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert queue.depth() == 1
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_the_earliest_time_wins(queue: DelayingQueue[str], clock: Clock) -> None:
    queue.add("a", 100)
    queue.add("a", 10)
    queue.add("a", 50)
    assert queue.take() is None
    clock.advance(10)
    assert queue.take() == "a"
    queue.done("a")
    clock.advance(1000)
    assert queue.take() is None


def test_keys_come_in_the_order_of_their_times(queue: DelayingQueue[str], clock: Clock) -> None:
    for key, delay in (("c", 3), ("a", 1), ("b", 2)):
        queue.add(key, delay)
    clock.advance(5)
    assert [queue.take() for _ in range(4)] == ["a", "b", "c", None]


def test_a_restore_overtakes_what_is_due_but_not_what_is_in_work(queue: DelayingQueue[str]) -> None:
    queue.add("a")
    queue.add("b")
    queue.add("restore")
    assert [queue.take(), queue.take(), queue.take()] == ["restore", "a", "b"]


def test_one_worker_at_a_time_and_an_event_meanwhile_is_not_lost(queue: DelayingQueue[str]) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


def test_done_with_a_time_comes_back_then(queue: DelayingQueue[str], clock: Clock) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", again_in=30)
    clock.advance(29)
    assert queue.take() is None
    clock.advance(1)
    assert queue.take() == "a"


def test_failures_back_off_per_key_up_to_the_longest_and_success_forgets_them(queue: DelayingQueue[str], clock: Clock) -> None:
    queue.add("a")
    delays = []
    for _ in range(12):
        assert queue.take() == "a"
        delays.append(queue.failed("a"))
        assert queue.take() is None
        clock.advance(delays[-1])
    assert delays[:4] == [2, 4, 8, 16]
    assert delays[-1] == BACKOFF_LONGEST
    assert queue.take() == "a"
    queue.done("a", again_in=0)
    assert queue.take() == "a"
    assert queue.failed("a") == 2


def test_jitter_spreads_the_back_off(clock: Clock) -> None:
    jitters = iter([0.0, 0.5])
    queue: DelayingQueue[str] = DelayingQueue(clock=clock, jitter=lambda: next(jitters))
    for key in ("a", "b"):
        queue.add(key)
        queue.take()
    assert queue.failed("a") == 1.0
    assert queue.failed("b") == 1.5


def test_an_event_during_a_failing_run_shortens_the_wait_but_cannot_spin(queue: DelayingQueue[str], clock: Clock) -> None:
    queue.add("a")
    for _ in range(6):
        queue.take()
        delay = queue.failed("a")
        clock.advance(delay)
    queue.take()
    queue.add("a")
    assert queue.failed("a") == 1.0
    assert queue.take() is None


def test_the_server_may_ask_for_a_longer_wait(queue: DelayingQueue[str]) -> None:
    queue.add("a")
    queue.take()
    assert queue.failed("a", at_least=42) == 42


def test_age_and_depth_count_only_what_is_due(queue: DelayingQueue[str], clock: Clock) -> None:
    queue.add("later", 100)
    assert (queue.depth(), queue.oldest_age()) == (0, 0.0)
    queue.add("now")
    clock.advance(7)
    assert (queue.depth(), queue.oldest_age()) == (1, 7.0)


def test_many_workers_never_share_a_key_and_miss_none() -> None:
    queue: DelayingQueue[int] = DelayingQueue(clock=threading.Event().is_set, jitter=lambda: 0.0)  # False is 0.0: time stands still
    working: set[int] = set()
    seen: list[int] = []
    trouble: list[int] = []
    lock = threading.Lock()
    finished = threading.Event()

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                if key in working:
                    trouble.append(key)
                working.add(key)
            with lock:
                working.discard(key)
                seen.append(key)
                if set(seen) == set(range(200)):
                    finished.set()
            queue.done(key)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        for key in range(200):
            queue.add(key)
    assert finished.wait(20)
    queue.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not trouble
    assert set(seen) == set(range(200))


def test_closing_wakes_a_waiting_worker(queue: DelayingQueue[str]) -> None:
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(queue.get()))
    thread.start()
    queue.close()
    thread.join(10)
    assert got == [None]
