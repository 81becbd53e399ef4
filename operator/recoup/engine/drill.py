"""A drill: a recovery point is restored to a scratch target, compared, and what came of it is said in the log, signed.

Only what this one location holds is used, so that its copy is what was tried. Responsible for the evidence; restoring and comparing are
`engine/restore/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from recoup import __version__
from recoup.engine.evidence import DRILL, Drill, time_text, to_entry
from recoup.engine.log.facts import Committed
from recoup.engine.points import open_point
from recoup.engine.restore.orders import Orders
from recoup.engine.restore.outcome import Outcome
from recoup.engine.restore.run import restore
from recoup.engine.vault import Unlocked
from recoup.errors import Integrity
from recoup.report import Progress


def drill(
    unlocked: Unlocked,
    commit: Committed,
    target: str,
    outcome: Outcome,
    progress: Progress,
    *,
    purpose: str = "",
    threads: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Drill:
    """Restore the point to `target`, which is new or empty, compare it, and append EVIDENCE of kind Drill. Returns what was stated.

    Damage is a result: the evidence says so, and then Integrity is raised. What else keeps the restore from ending (the target is too
    small, the location is away) is no statement about the copy: it is raised, and nothing is recorded.
    """
    started = clock()
    failed: Integrity | None = None
    try:
        point = open_point(unlocked, commit)
        point.objects.parallelism = threads
        restore(point, target, Orders(), outcome, progress)
    except Integrity as error:
        failed = error
    ended = clock()
    statement = Drill(
        started=time_text(started),
        ended=time_text(ended),
        point=commit.body.manifest.hex(),
        passed=failed is None,
        seconds=round(ended - started, 3),
        reason=failed.reason if failed is not None else "",
        files=outcome.files,
        bytes=outcome.bytes_written,
        damaged_paths=outcome.damaged.total,
        round=purpose,
        tool=f"recoup {__version__}",
    )
    unlocked.log.append(to_entry(DRILL, statement), unlocked.reader.signer)
    if failed is not None:
        raise failed
    return statement
