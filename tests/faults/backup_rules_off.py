"""The rules of a backup run, each switched off: what the code would do without it. test_backup_faults.py shows that every one is missed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from recoup.api.conditions import set_ready
from recoup.controller import failures
from recoup.plan import movers, snapshot, snapshot_status, snapshot_volume, volume_view
from recoup.plan.observed import Point
from recoup.plan.refusals import Admitted
from recoup.plan.volume_view import VolumeView, view_volume

Patch = pytest.MonkeyPatch

_RUN = snapshot._run
_CONDITIONS = snapshot_status._conditions


def believe_movers(patch: Patch) -> None:
    """A Job that is Complete counts as a COMMIT."""

    def view(*arguments: Any, **settled: Any) -> VolumeView:
        found = view_volume(*arguments, **settled)
        point = Point(id="x", session="x", manifest="abc", taken_at=datetime(2026, 11, 23, tzinfo=UTC))
        return msgspec.structs.replace(found, point=point) if _ended(found, "Complete") else found

    patch.setattr("recoup.plan.snapshot.view_volume", view)


def believe_only_jobs(patch: Patch) -> None:
    """A COMMIT counts only if its Job did not fail."""

    def view(*arguments: Any, **settled: Any) -> VolumeView:
        found = view_volume(*arguments, **settled)
        return msgspec.structs.replace(found, point=None) if _ended(found, "Failed") else found

    patch.setattr("recoup.plan.snapshot.view_volume", view)


def _ended(view: VolumeView, kind: str) -> bool:
    conditions = [item for job in view.jobs.values() for item in (job.get("status") or {}).get("conditions") or ()]
    return any(item["type"] == kind for item in conditions)


def find_claims_by_name(patch: Patch) -> None:
    """A claim is the one that has its name, not its uid."""

    def view(observed: Any, owner: Any, known: Any, session: Any, **settled: Any) -> VolumeView:
        uids = {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in observed.claims}
        found = msgspec.structs.replace(known, uid=uids.get(known.persistent_volume_claim, known.uid))
        session = observed.tickets[found.uid].session if found.uid in observed.tickets else session
        return view_volume(observed, owner, found, session, **settled)

    patch.setattr("recoup.plan.snapshot.view_volume", view)


def follow_the_policy(patch: Patch) -> None:
    """What the policy says now, not what was settled."""

    def run(observed: Any, found: Any, now: Any) -> Any:
        settled = _RUN(observed, found, now)
        exclude = tuple((observed.policy or {"spec": {}})["spec"].get("files", {}).get("exclude", ()))
        return msgspec.structs.replace(settled, resolved=msgspec.structs.replace(settled.resolved, exclude=exclude))

    patch.setattr(snapshot, "_run", run)


def need_the_policy(patch: Patch) -> None:
    """A run without its policy can't go on."""
    patch.setattr(snapshot, "_run", lambda observed, found, now: _RUN(observed, found, now) if observed.policy else 1 / 0)


def need_the_claim(patch: Patch) -> None:
    """The claim's record is not found on what is handed over."""
    patch.setattr("recoup.plan.volume_view.SOURCE", "recoup.dev/nothing")


def give_up_unread(patch: Patch) -> None:
    """A location that can't be read means that there is no COMMIT."""
    patch.setattr(snapshot_volume, "_catalogue_unread", lambda view, _observed, _run: snapshot_volume._fail(view, "Unavailable", "x"))


def any_class(patch: Patch) -> None:
    patch.setattr("recoup.plan.capture.choose_snapshot_class", lambda *_: "cuts")


def no_limit(patch: Patch) -> None:
    patch.setattr("recoup.plan.capture._older", lambda *_: False)


def hide_refusals(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot_volume.admit", lambda actions, *_: Admitted(actions))


def hide_early_refusals(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot.admit", lambda actions, *_: Admitted(actions))


def no_warnings(patch: Patch) -> None:
    patch.setattr("recoup.controller.gather._lacks_pod", lambda *_: False)


def unmarked(patch: Patch) -> None:
    """A retained content gets our labels only with the hand-over."""
    patch.setattr("recoup.plan.capture._mark_retained", lambda *_: ())


def forget_memory(patch: Patch) -> None:
    patch.setattr(movers, "OUT_OF_MEMORY", "never")


def no_retries(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot_volume.retry_at", lambda *_: None)


def never_stalled(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot_volume.is_stalled", lambda *_: False)


def stalled_by_the_clock(patch: Patch) -> None:
    """Counted from the start, whatever moved since."""
    patch.setattr("recoup.plan.snapshot_volume.is_stalled", lambda since, _known, _seen, now: now - since >= movers.STALL_LIMIT)


def any_vault(patch: Patch) -> None:
    """The status is believed."""
    patch.setattr(snapshot, "_run", lambda *arguments: msgspec.structs.replace(_RUN(*arguments), foreign_vault=False))


def ignore_cancel(patch: Patch) -> None:
    patch.setattr(snapshot, "_run", lambda *arguments: msgspec.structs.replace(_RUN(*arguments), cancel=False))


def empty_is_fine(patch: Patch) -> None:
    def conditions(status: Any, **more: Any) -> Any:
        if status.volumes:
            return _CONDITIONS(status, **more)
        return set_ready(status.conditions, "RecoveryPointStored", "0 of 0", now=more["now"], generation=1)

    patch.setattr(snapshot_status, "_conditions", conditions)


def ignore_missing(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot_resolve.missing_claims", lambda *_: ())


def any_home(patch: Patch) -> None:
    patch.setattr("recoup.plan.snapshot_resolve.is_true", lambda *_: True)


def sweep_movers_at_work(patch: Patch) -> None:
    """A mover without an owner is removed at once."""
    patch.setattr("recoup.plan.sweep._may_finish", lambda *_: False)


def delete_unretained(patch: Patch) -> None:
    """The workload's content keeps its deletion policy."""

    def unchanged(thing: Any, change: Any) -> Any:
        return volume_view.patch(thing, {key: value for key, value in change.items() if key != "spec"})

    patch.setattr("recoup.plan.capture.patch", unchanged)


def every_place_answers(patch: Patch) -> None:
    """What the controller's own look at the location says is not heard."""
    patch.setattr("recoup.plan.location_conditions._reachable", lambda _judged: (True, "Answers", "the location answers"))


def for_everybody(patch: Patch) -> None:
    """A location serves every namespace."""
    patch.setattr("recoup.plan.snapshot_resolve.check_namespace", lambda *_: None)


def away_is_gone(patch: Patch) -> None:
    """What is not answered is taken for not being there."""
    patch.setattr(failures, "Unavailable", failures.Gone)


def silence_is_no_proof(patch: Patch) -> None:
    """A mover of which nothing is heard is taken for one whose log can't be read."""
    patch.setattr("recoup.controller.gather.Progress", lambda **_: None)
