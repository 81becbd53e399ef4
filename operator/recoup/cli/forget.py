"""`recoup forget`: let go of recovery points, by rules or one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from recoup.cli.maintenance import MaintenanceOptions, maintenance_options
from recoup.cli.options import Location, location_options, output_option, report_option
from recoup.errors import Usage

if TYPE_CHECKING:
    from datetime import tzinfo

    from recoup.engine.forget import Hold, Judged
    from recoup.retention import Rules

_DAYS = {"d": 1, "w": 7, "m": 30, "y": 365}


class Period(click.ParamType[timedelta]):
    """A length of time: 90s, 36h, 30d, 8w, 6m (of 30 days), 2y (of 365)."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        number, unit = str(value)[:-1], str(value)[-1:].lower()
        if not number.isdigit() or unit not in {"s", "h", *_DAYS} or int(number) > (100_000_000_000 if unit == "s" else 100_000):
            self.fail(f"{value!r} is not a length of time; write for example 36h, 30d, 8w, 6m or 2y", param, ctx)
        if unit == "s":
            return timedelta(seconds=int(number))
        return timedelta(hours=int(number)) if unit == "h" else timedelta(days=int(number) * _DAYS[unit])


class Zone(click.ParamType["tzinfo"]):
    """The name of a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is not a time zone that this machine knows; write for example Europe/Berlin or UTC", param, ctx)


COUNT = click.IntRange(0, 100_000)
PERCENT = click.IntRange(1, 100)
_THRESHOLDS = ("lost_bytes", "lost_files", "rewritten", "stored_share")


@click.command()
@location_options
@maintenance_options
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--last", type=COUNT, default=0, metavar="N", help="Keep the newest N.")
@click.option("--hourly", type=COUNT, default=0, metavar="N", help="Keep the newest of each of the last N hours that have one.")
@click.option("--daily", type=COUNT, default=0, metavar="N", help="The same for days.")
@click.option("--weekly", type=COUNT, default=0, metavar="N", help="The same for weeks (from Monday).")
@click.option("--monthly", type=COUNT, default=0, metavar="N", help="The same for months.")
@click.option("--yearly", type=COUNT, default=0, metavar="N", help="The same for years.")
@click.option(
    "--within", type=Period(), metavar="TIME", help="Keep all that are at most so much older than the newest: 36h, 30d, 8w, 6m, 2y."
)
@click.option(
    "--min-verified", type=COUNT, default=1, show_default=True, metavar="N", help="Keep the newest N verified ones, whatever else is said."
)
@click.option("--time-zone", "zone", type=Zone(), default="UTC", show_default=True, help="Where days, weeks, months and years begin.")
@click.option("--hold-suspicious", is_flag=True, help="Let go of nothing of a volume whose source looks emptied, lost or encrypted.")
@click.option("--lost-bytes", type=PERCENT, metavar="PERCENT", help="Suspicious is a point without so many of the bytes before. [50]")
@click.option("--lost-files", type=PERCENT, metavar="PERCENT", help="The same for files. [50]")
@click.option(
    "--rewritten", type=PERCENT, metavar="PERCENT", help="Or so much of the source written anew, and no longer compressible. [25]"
)
@click.option("--stored-share", type=PERCENT, metavar="PERCENT", help="Stored in so much of its size, data is not compressible. [95]")
@click.option("--accept", "accepted", multiple=True, metavar="ID", help="This point is as it should be; several times.")
@click.option("--policy", "policies", multiple=True, metavar="UID", help="Only points of this BackupPolicy; several times.")
@click.option("--volume", "volumes", multiple=True, metavar="UID", help="Only points of this PersistentVolumeClaim; several times.")
@click.option("--policy-generation", type=click.IntRange(1), metavar="N", help="Act for the one --policy, at this generation of it.")
@click.option(
    "--beside",
    "besides",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Maintenance keys of another vault at the location: its points of the same --policy count too. Several times.",
)
@click.option(
    "--guard",
    type=Period(),
    metavar="TIME",
    help="For copies of what somebody else controls: a point that came here less than TIME ago neither goes nor counts.",
)
@click.option("--explain", is_flag=True, help="Say for each point which rule keeps or drops it.")
@click.option("--dry-run", is_flag=True, help="Decide and print, change nothing.")
@report_option
@output_option
def command(
    location: Location,
    keys: MaintenanceOptions,
    ids: tuple[str, ...],
    zone: tzinfo,
    policies: tuple[str, ...],
    volumes: tuple[str, ...],
    policy_generation: int | None,
    besides: tuple[str, ...],
    guard: timedelta | None,
    explain: bool,
    dry_run: bool,
    report: str | None,
    output: str,
    **rules: Any,
) -> None:
    """Let go of recovery points, by rules or one by one.

    Each volume is judged by itself: all points that one policy made of one claim, or that the command line made of one path. A
    point stays if any rule keeps it, and so does a pinned one. Nothing is deleted: `recoup prune` frees what no point needs.

    \b
    Examples:
      recoup forget --location file:///srv/backups --key-file backup.key --daily 7 --weekly 4 --monthly 12 --dry-run --explain
      recoup forget --location file:///srv/backups --key-file backup.key 4f2a91c0

    A policy whose home was away for long has points in two vaults. With --beside those of the other one count, and only this one's go.

    A copy of another cluster's vault is only as safe as the rules by which it lets go: whoever controls that cluster can fill it with new
    points. With --guard 30d they push out nothing for 30 days.
    """  # click's mark for text that is not to be wrapped is a real backspace
    from recoup.engine.catalogue import points_of
    from recoup.engine.forget import Beside, forget, judge
    from recoup.engine.points import find_point
    from recoup.report import reporting
    from recoup.retention import Rules

    hold = _hold(rules)
    _check(wanted := Rules(**rules), ids, policies, volumes, policy_generation)
    _check_reach(guard, besides, policies, alone=not (ids or policy_generation))
    with reporting(report) as summary:
        store = location.open()
        vault = keys.open(store)
        state = vault.log.state
        others = [keys.beside(store, directory) for directory in besides]
        beside = [Beside(other.log.state, points_of(other.log.state, other.keys)) for other in others]
        judged: list[Judged] = []
        if ids:
            gone = list(dict.fromkeys(find_point(vault, ident).body.manifest.hex() for ident in ids))
        else:
            before = datetime.now(UTC) - guard if guard is not None else None
            own = points_of(state, vault.keys)
            judged = judge(state, own, wanted, zone, policies=policies, volumes=volumes, beside=beside, before=before, hold=hold)
            gone = [one.point.id for one in judged if not one.decision.keep]
        if not dry_run:
            acting = policies[0] if policy_generation else ""
            rule = "named by a person" if ids else wanted.describe()
            forget(vault.log, vault.keys.signer, gone, rule, policy_uid=acting, policy_generation=policy_generation or 0)
        summary.message = f"{len(gone)} recovery points {'would be ' if dry_run else ''}forgotten"
        _print(judged, gone, output, explain=explain, dry_run=dry_run)


def _hold(given: dict[str, Any]) -> Hold | None:
    """Takes the options of suspicious changes out of what was given; None where nothing is to be held."""
    from recoup.engine.forget import Hold
    from recoup.suspicion import Thresholds

    thresholds = {name: value for name in _THRESHOLDS if (value := given.pop(name)) is not None}
    wanted, accepted = given.pop("hold_suspicious"), given.pop("accepted")
    if (thresholds or accepted) and not wanted:
        raise Usage("thresholds and --accept are for --hold-suspicious: give it, too")
    return Hold(Thresholds(**thresholds), frozenset(ident.lower() for ident in accepted)) if wanted else None


def _check(rules: Rules, ids: tuple[str, ...], policies: tuple[str, ...], volumes: tuple[str, ...], generation: int | None) -> None:
    if ids and (not rules.empty or policies or volumes or generation):
        raise Usage("give ids, or rules with their filters, not both")
    if not ids and rules.empty:
        raise Usage("no rule: say what to keep (--last, --daily, …, --within), or which recovery points to forget by their ids")
    if generation and len(policies) != 1:
        raise Usage("--policy-generation is the generation of one --policy: give exactly one")


def _check_reach(guard: timedelta | None, besides: tuple[str, ...], policies: tuple[str, ...], *, alone: bool) -> None:
    if guard is not None and (besides or not alone):
        raise Usage("--guard is for rules over one vault of another cluster: leave out ids, --beside and --policy-generation")
    if besides and not policies:
        raise Usage("--beside counts points of one policy in several vaults: give --policy")


def _print(judged: list[Judged], gone: list[str], output: str, *, explain: bool, dry_run: bool) -> None:
    from recoup.cli.output import emit_json, emit_table

    if output == "json":
        points = [_fields(one) for one in judged] or [{"id": ident, "keep": False, "reasons": ["named by a person"]} for ident in gone]
        emit_json({"dryRun": dry_run, "forgotten": len(gone), "points": points})
        return
    shown = judged if explain else [one for one in judged if not one.decision.keep]
    if shown:
        rows = [
            (one.point.id[:16], one.at.strftime("%Y-%m-%dT%H:%M:%SZ"), _lineage(one), "keep" if one.decision.keep else "forget", why)
            for one in shown
            for why in ["; ".join(one.decision.reasons)]
        ]
        emit_table(("ID", "TIME", "OF", "DECISION", "BECAUSE"), rows)
    kept = f", {len(judged) - len(gone)} kept" if judged else ""
    click.echo(f"{len(gone)} recovery points {'would be ' if dry_run else ''}forgotten{kept}")


def _lineage(one: Judged) -> str:
    from recoup.cli.snapshots import origin as origin_of

    record = one.point.record
    origin = origin_of(record.source) if record is not None else ""
    return f"{record.policy} {origin}" if record is not None and record.policy else origin


def _fields(one: Judged) -> dict[str, Any]:
    return {
        "id": one.point.id,
        "time": one.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "policyUid": one.lineage.policy_uid,
        "persistentVolumeClaimUid": one.lineage.pvc_uid,
        "keep": one.decision.keep,
        "reasons": list(one.decision.reasons),
    }
