"""Merges synthetic index segments in a process of its own and prints how much memory that took: `python -m … ROWS`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from recoup.engine.maintenance import merge
from recoup.engine.maintenance.segments import Segments
from recoup.engine.records.rows import Place
from recoup.engine.stores.file import FileStore
from tests.peak import own_peak
from tests.unit.engine.keys.vaults import unlocked
from tests.unit.engine.log.entries import commit_body, open_body

RUN = 25_000


def main() -> None:
    rows = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        vault = unlocked(FileStore(str(Path(directory) / "location")))
        keys, log = vault.maintenance, vault.log
        segments = Segments(log.store, keys.identity, keys.index_keys)
        live: set[bytes] = set()
        for _ in range(rows // RUN):
            packs = [os.urandom(32) for _ in range(RUN // 16)]
            live.update(packs)
            made = sorted((os.urandom(32), Place(packs[number // 16 % len(packs)], 0, number % 16, 0)) for number in range(RUN))
            (segment,) = segments.write(made)
            session = os.urandom(16)
            opened = log.append(open_body(session), vault.writer.signer).head.seq
            body = commit_body(session, opened)
            log.append(
                msgspec.structs.replace(body, index_segments=(segment,)),
                vault.writer.signer,
            )
        setattr(merge, "MANY", 2)  # noqa: B010  # so that there are many
        setattr(merge, "_live", lambda objects, _log, _pool: objects & live)  # noqa: B010  # the sets of these points are made up
        with ThreadPoolExecutor(4) as pool:
            done = merge.merge_segments(log, keys, pool)
        assert done.replaced == rows // RUN, done
        count = sum(table.count for segment in log.state.segments for table in segments.tables(segment))
    print(json.dumps({"rows": count, "segments": done.written, "peak": own_peak()}))


main()
