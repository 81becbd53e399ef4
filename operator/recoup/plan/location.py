"""What a BackupLocation does next: have it probed by a mover, and say truthfully whether backups can go there.

Two looks at the place count: the controller's own, made at every reconcile with credentials that can only read, and the probe, a Job
with the movers' credentials that writes, races and reads back. Judging them is location_conditions.py's. Nothing here deletes anything
at a location.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct, structs

from recoup.api.backuplocation import CONFORMANT, KIND, MAX_VAULTS, BackupLocation, BackupLocationStatus, LastProbe, Vault
from recoup.api.conditions import is_true
from recoup.api.names import short_hash
from recoup.api.objects import decode, encode
from recoup.plan.access import Refusal
from recoup.plan.actions import Action, Create, Object, Plan
from recoup.plan.adoption import Adoption, AdoptionObserved, Listing, plan_adoption
from recoup.plan.conditions import transition_notes
from recoup.plan.location_conditions import PASSED, UNREACHABLE, Judged, Reading, count_keys, judge_location
from recoup.plan.movers import MoverState, Verdict, judge_mover, pod_of
from recoup.plan.objects.identity import COMPONENT, Owner
from recoup.plan.objects.jobs import build_probe_job
from recoup.plan.observed import ApiFailure, FailureKey, Surroundings
from recoup.plan.pull_retention import judge_pull_retention
from recoup.plan.pulling import Pulling, PullObserved, PullSource, judge_pulls, plan_pulls
from recoup.plan.refusals import admit
from recoup.plan.upkeep import is_upkeep
from recoup.plan.views import Views, ViewsObserved, plan_views
from recoup.plan.volume_view import delete, is_going

PROBE_AGAIN = timedelta(days=7)
PROBE_UNREACHABLE_AGAIN = timedelta(minutes=2)
PROBE_FAILED_AGAIN = timedelta(minutes=15)
"""After a probe that found the place unfit, or that could not be made."""

_POLL = 15.0
_READ_AGAIN = 60.0


class LocationObserved(Struct, frozen=True, kw_only=True):
    """All that decides the next step of one BackupLocation.

    location: the BackupLocation, fresh.
    children: Jobs and Pods in the movers' namespace labelled recoup.dev/owner-uid=<uid>.
    reading: the controller's own look at the place in this reconcile; None if it could not be made (the API server was away).
    vaults: of the Secrets catalogue-<vault> and adopted-<vault> of this location: what Jobs found.
    listing: the look for vaults that were made elsewhere; None if it is not asked for.
    pulls: what spec.pull names, with the catalogues of the vaults there and here.
    refused_at: when a backup's mover last ended because it could not get at the place; None if there is none that failed so.
    views: the recovery points that belong into namespaces of this cluster, and the objects that show them.
    warnings: by uid, the message of the newest Warning Event about a Pod among the children.
    failures: the last API error per object of this owner, dropped once the write succeeded.
    """

    location: Object
    around: Surroundings
    children: tuple[Object, ...] = ()
    reading: Reading | None = None
    vaults: tuple[Vault, ...] = ()
    listing: Listing | None = None
    views: ViewsObserved | None = None
    pulls: tuple[PullSource, ...] = ()
    refused_at: datetime | None = None
    warnings: dict[str, str] = {}
    failures: dict[FailureKey, ApiFailure] = {}


class Step(Struct, frozen=True, kw_only=True):
    """What is known of probes after this look, the writes, and how a running one is doing."""

    last: LastProbe | None
    actions: tuple[Action, ...] = ()
    running: Verdict | None = None
    again: float | None = None


def plan_location(observed: LocationObserved, now: datetime) -> Plan:
    """Idempotent: the same look twice gives the same plan, and a plan carried out half gives its rest."""
    location = decode(BackupLocation, observed.location)
    if location.metadata.deletion_timestamp is not None:
        return Plan()
    before = location.status
    step = _probe(location, observed, now)
    adoption = _adopt(location, observed, now)
    views = plan_views(observed.views) if observed.views is not None else Views()
    pulling = _pull(location, observed, now)
    admitted = admit((*step.actions, *adoption.actions, *views.actions), observed.failures, now)
    vaults, disputed = pin_vaults(before.vaults, observed.vaults)
    vaults = tuple(structs.replace(vault, pruned_at=pulling.pruned.get(vault.id, vault.pruned_at)) for vault in vaults)
    refusal = admitted.refusal
    conditions = judge_location(
        Judged(
            location=location,
            reading=observed.reading,
            probe=step.last if step.last and step.last.settings == settings_hash(location) else None,
            running=step.running,
            refused=Refusal(refusal.reason, f"a Job could not be started: {refusal.message}") if refusal else None,
            disputed=disputed,
            adoption=adoption,
            ambiguous=observed.views.ambiguous if observed.views is not None else (),
        ),
        now,
    )
    conditions = judge_pulls(conditions, pulling.lines, location.metadata.generation, now)
    conditions = judge_pull_retention(conditions, pulling.retention, pulling.refused, location.metadata.generation, now)
    repository = observed.reading.repository_id if observed.reading else None
    status = BackupLocationStatus(
        observed_generation=location.metadata.generation,
        conditions=conditions,
        repository_id=repository or before.repository_id,
        key_count=count_keys(location.spec.encryption.keys),
        vault_count=len({vault.id for vault in (*before.vaults, *observed.vaults)}),
        vaults=vaults,
        last_probe=step.last,
        pulls=pulling.lines,
        pull_retention=pulling.retention,
    )
    notes = transition_notes(before.conditions, conditions)
    news = 0.0 if vaults != before.vaults else None  # what is in them can be listed only now
    waits = (news, step.again, adoption.again, views.again, pulling.again, admitted.again, _READ_AGAIN if _away(observed.reading) else None)
    again = min((wait for wait in waits if wait is not None), default=None)
    return Plan(actions=(*admitted.actions, *pulling.actions), status=encode(status), events=notes, requeue_after=again)


def _adopt(location: BackupLocation, observed: LocationObserved, now: datetime) -> Adoption:
    asked = AdoptionObserved(
        location=location,
        around=observed.around,
        listing=observed.listing or Listing(reason="VaultsNotListed", message="they have not been listed yet"),
        vaults=observed.vaults,
        children=observed.children,
        warnings=observed.warnings,
    )
    return plan_adoption(asked, now)


def _pull(location: BackupLocation, observed: LocationObserved, now: datetime) -> Pulling:
    asked = PullObserved(
        target=location,
        around=observed.around,
        sources=observed.pulls,
        children=observed.children,
        warnings=observed.warnings,
        failures=observed.failures,
    )
    return plan_pulls(asked, now)


def settings_hash(location: BackupLocation) -> str:
    """Stands for the settings that a probe is about: with others, the place is another one."""
    return short_hash(msgspec.json.encode(msgspec.structs.astuple(location.spec.s3)).decode())


def pin_vaults(pinned: tuple[Vault, ...], seen: tuple[Vault, ...]) -> tuple[tuple[Vault, ...], Vault | None]:
    """The vaults to trust from now on, and one that is not what it was. The first word about a vault stands."""
    known = {vault.id: vault for vault in pinned}
    disputed = None
    for vault in sorted(seen, key=lambda vault: vault.id):
        if vault.id not in known and len(known) < MAX_VAULTS:
            known[vault.id] = vault
        elif vault.id in known and known[vault.id].fingerprint != vault.fingerprint:
            disputed = vault
    return tuple(known[vault_id] for vault_id in sorted(known)), disputed


def _probe(location: BackupLocation, observed: LocationObserved, now: datetime) -> Step:
    """Start a probe that is due, read the result of one that ended, remove one whose result is in the status."""
    last = location.status.last_probe
    movers = [child for child in observed.children if child["kind"] == "Job" and child["metadata"]["labels"].get(COMPONENT) == "mover"]
    jobs = [job for job in movers if not is_upkeep(job)]
    read = [job for job in jobs if last is not None and job["metadata"]["name"] == last.job]
    removals = tuple(delete(job) for job in read if not is_going(job))
    unread = [job for job in jobs if job not in read]
    if location.spec.read_only:
        return Step(last=last, actions=tuple(delete(job) for job in jobs if not is_going(job)))
    if unread:
        return _follow(location, unread[0], observed, now, removals)
    wait = _due_in(location, None if _away(observed.reading) else observed.refused_at, now)  # who is away needs no probe to say so
    if wait > timedelta():
        return Step(last=last, actions=removals, again=_POLL if read else wait.total_seconds())
    owner = Owner(kind=KIND, namespace="", name=location.metadata.name, uid=location.metadata.uid)
    name = owner.child_name("probe", settings_hash(location), last.at.isoformat() if last else "")
    job = build_probe_job(owner, observed.around, location.spec, name=name)
    running = Verdict(state=MoverState.RUNNING, reason="Probing", message="the location is being probed")
    return Step(last=last, actions=(*removals, Create(job)), running=running, again=_POLL)


def _follow(location: BackupLocation, job: Object, observed: LocationObserved, now: datetime, removals: tuple[Action, ...]) -> Step:
    pods = tuple(child for child in observed.children if child["kind"] == "Pod")
    verdict = judge_mover(job, pod_of(job, pods), now=now, warnings=observed.warnings)
    if verdict.state in (MoverState.RUNNING, MoverState.ENDING):
        return Step(last=location.status.last_probe, actions=removals, running=verdict, again=_POLL)
    passed = verdict.state is MoverState.SUCCEEDED
    probe = LastProbe(
        at=now.replace(microsecond=0),
        result=PASSED if passed else verdict.reason,
        message=verdict.report.message or "objects are created atomically if absent, and read back as written"
        if passed
        else verdict.message,
        job=job["metadata"]["name"],
        settings=_probed_settings(job, location),
    )
    return Step(last=probe, actions=removals, again=0.0)


def _probed_settings(job: Object, location: BackupLocation) -> str:
    """The hash of the settings that the Job was made for: those of now, unless the spec was edited while it ran."""
    owner = Owner(kind=KIND, namespace="", name=location.metadata.name, uid=location.metadata.uid)
    last = location.status.last_probe
    settings = settings_hash(location)
    expected = owner.child_name("probe", settings, last.at.isoformat() if last else "")
    return settings if job["metadata"]["name"] == expected else "outdated"


def find_refusal(movers: Sequence[Object], now: datetime) -> datetime | None:
    """When one of these backup movers (Jobs and Pods) last ended because it could not get at its location."""
    pods = tuple(each for each in movers if each["kind"] == "Pod")
    verdicts = (judge_mover(job, pod_of(job, pods), now=now, warnings={}) for job in movers if job["kind"] == "Job")
    return max((each.since for each in verdicts if each.reason in UNREACHABLE and each.since is not None), default=None)


def _due_in(location: BackupLocation, refused_at: datetime | None, now: datetime) -> timedelta:
    last = location.status.last_probe
    if last is None or last.settings != settings_hash(location):
        return timedelta()
    if last.result == PASSED and refused_at is not None and refused_at > last.at:
        return timedelta()  # one probe tells for all runs to come: without it each would make its own Jobs in vain
    if last.result == PASSED:
        pause = PROBE_AGAIN
    elif last.result in UNREACHABLE and not is_true(location.status.conditions, CONFORMANT):
        pause = PROBE_UNREACHABLE_AGAIN
    else:  # of a place that passed before, the controller's own reads tell sooner when it is back
        pause = PROBE_FAILED_AGAIN
    return max(timedelta(), last.at + pause - now)


def _away(reading: Reading | None) -> bool:
    return reading is None or reading.reason != ""
