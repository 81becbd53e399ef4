"""The log on a real S3 server, through a proxy that breaks what networks break: one order, every entry once, none lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from recoup.engine.log.follow import Log
from recoup.engine.stores.base import Credentials, Store, StoreOptions
from recoup.engine.stores.registry import open_store
from tests.cluster.s3.buckets import Bucket
from tests.cluster.s3.faults import (
    INTERNAL_ERROR_AFTER_EFFECT,
    PRECONDITION_FAILED_AFTER_EFFECT,
    SLOW_DOWN,
    Fault,
    LostResponse,
    Reset,
    TruncatedBody,
)
from tests.cluster.s3.proxy import FaultProxy
from tests.cluster.s3.request import Kind
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, open_body

pytestmark = pytest.mark.s3
WRITERS, RUNS = 4, 5


@pytest.fixture
def direct(bucket: Bucket) -> Store:
    return store_of(bucket, bucket.server.endpoint)


@pytest.fixture
def troubled(bucket: Bucket, fault_proxy: FaultProxy) -> Iterator[Store]:
    yield store_of(bucket, fault_proxy.endpoint)
    fault_proxy.clear()


def store_of(bucket: Bucket, endpoint: str) -> Store:
    keys = bucket.server.credentials
    credentials = Credentials(keys.access_key, keys.secret_key)
    return open_store(bucket.url("prefix"), StoreOptions(endpoint_url=endpoint, credentials=credentials))


@pytest.mark.parametrize(
    "fault",
    [LostResponse(), Reset(), SLOW_DOWN, INTERNAL_ERROR_AFTER_EFFECT, PRECONDITION_FAILED_AFTER_EFFECT],
    ids=lambda fault: repr(fault)[:40],
)
def test_racing_writers_whose_every_other_put_goes_wrong(fault: Fault, direct: Store, troubled: Store, fault_proxy: FaultProxy) -> None:
    vault = unlocked(direct)
    count = iter(range(10**6))
    fault_proxy.on(fault, kind=Kind.PUT, key="/log/", when=lambda _: next(count) % 2 == 0, times=None)

    def work(_: int) -> list[bytes]:
        log = Log(troubled, vault.identity.vault_id, root_public=vault.identity.root_public)
        sessions = [os.urandom(16) for _ in range(RUNS)]
        for session in sessions:
            opened = log.append(open_body(session), vault.writer.signer)
            log.append(commit_body(session, opened.head.seq), vault.writer.signer)
        return sessions

    with ThreadPoolExecutor(WRITERS) as pool:
        done = [session for sessions in pool.map(work, range(WRITERS)) for session in sessions]
    state = Log(direct, vault.identity.vault_id, root_public=vault.identity.root_public).follow()
    assert state.invalid == 0
    assert len(state.commits) == len(done) == WRITERS * RUNS
    assert {session for session, facts in state.sessions.items() if facts.committed} == set(done)
    assert state.next_seq == 1 + 2 * WRITERS * RUNS


def test_an_answer_that_ends_early_is_asked_for_again(direct: Store, troubled: Store, fault_proxy: FaultProxy) -> None:
    vault = unlocked(direct)
    for _ in range(5):
        vault.log.append(open_body(), vault.writer.signer)
    fault_proxy.on(TruncatedBody(100), kind=Kind.GET, key="/log/", times=3)
    state = Log(troubled, vault.identity.vault_id, root_public=vault.identity.root_public).follow()
    assert (state.next_seq, state.invalid) == (6, 0)
    assert state.previous == vault.log.state.previous
