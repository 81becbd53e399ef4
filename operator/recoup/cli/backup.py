"""`recoup backup`: make a recovery point of a directory, a file, a block device or a stream.

Wires keys, store, run file and progress with engine/backup. The same command with --writer-keys is the mover of a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.errors import PARTIAL_EXIT_CODE, Usage
from recoup.report import Progress, Report, reporting

if TYPE_CHECKING:
    from recoup.engine.backup.session import Request, Result
    from recoup.engine.keys.roles import WriterKeys
    from recoup.engine.log.follow import Log

_SHOWN = 20


@click.command
@location_options
@key_options
@click.option(
    "--writer-keys",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Instead of key files: the directory with a writer's keys (writer.json), which can write recovery points and read none.",
)
@click.option("--source", metavar="PATH", help="Directory, file or block device to back up.")
@click.option("--stdin", "stdin_name", metavar="NAME", help="Back up standard input instead, as one file of this name.")
@click.option("--allow-empty", is_flag=True, help="With --stdin: an empty stream is a recovery point, too, and no error.")
@click.option(
    "--exclude",
    "excludes",
    metavar="GLOB",
    multiple=True,
    help="Leave out what matches: a name at any depth (*.tmp), or with a slash a path below the source (var/cache/**); several times.",
)
@click.option("--exclude-caches", is_flag=True, help="Of directories with a valid CACHEDIR.TAG take nothing but the tag.")
@click.option("--one-file-system", is_flag=True, help="Do not enter directories on which other file systems are mounted.")
@click.option(
    "--unit",
    type=click.Choice(["auto", "fixed", "cdc"]),
    default="auto",
    show_default=True,
    help="How files of 256 KiB and more are cut: fixed 64 KiB for what is written in place, by content (cdc) for the rest; auto decides.",
)
@click.option(
    "--region-blocks",
    metavar="N",
    type=click.IntRange(1, 64),
    default=12,
    show_default=True,
    help="Store 4 MiB in fixed units afresh if they lie in more than N blocks: a smaller N restores faster, a larger one stores less.",
)
@click.option("--run", "run_file", metavar="FILE", type=click.Path(dir_okay=False), help="Which run of which policy this is, as JSON.")
@parallelism_option
@report_option
@output_option
@click.argument("producer", nargs=-1, type=click.UNPROCESSED)
def command(
    location: Location, keys: KeyOptions, writer_keys: str | None, report: str | None, output: str, **wishes: Unpack[Wishes]
) -> int:
    """Make a recovery point of a directory, a file, a block device or a stream.

    Prints the recovery point's id. The first backup reads everything; later ones of the same source read what changed. Nothing
    exists until the last step, so an interrupted backup leaves earlier points as they were, and can simply be run again: what was
    sent already is not sent again.

    \b
    Examples:
      recoup backup --location file:///srv/backups --key-file backup.key --source /home --exclude '*.tmp'
      recoup backup --location s3://bucket/prefix --key-file backup.key --source /dev/vg0/data
      recoup backup --location s3://bucket/prefix --key-file backup.key --stdin shop.sql -- pg_dump shop

    With --stdin, the command after -- is run, and its output makes a recovery point only if it succeeds. A dump can be piped in as
    well, but nobody sees there that its producer failed: an end is an end.

    Exit code 3: the recovery point was made, but some files changed, vanished or could not be read. They are listed.
    """  # click's mark for text that is not to be wrapped is a real backspace
    with reporting(report) as summary:
        result = _run(location, keys, writer_keys, wishes)
        _fill(summary, result)
    _show(result, output)
    return PARTIAL_EXIT_CODE if result.errors_total else 0


class Wishes(TypedDict):
    """What to back up and how, as the command line says it."""

    source: str | None
    stdin_name: str | None
    allow_empty: bool
    excludes: tuple[str, ...]
    exclude_caches: bool
    one_file_system: bool
    unit: str
    region_blocks: int
    run_file: str | None
    parallelism: int | None
    producer: tuple[str, ...]


def _run(location: Location, keys: KeyOptions, writer_keys: str | None, wishes: Wishes) -> Result:
    from recoup.engine.allocator import tune_allocator, without_collector

    tune_allocator()
    from recoup.engine.backup.session import back_up

    request = _request(wishes)
    log, writer = _open(location, keys, writer_keys)
    progress = Progress()
    try:
        with without_collector():
            return back_up(
                log,
                writer,
                request,
                lambda size, files: progress.start("backup", bytes_total=size, files_total=files),
                lambda size, files: progress.advance(data=size, files=files),
            )
    finally:
        progress.end()


def _request(wishes: Wishes) -> Request:
    """Bad input is said before anything is asked of the location. Raises Usage, Invalid, NotFound."""
    from recoup.engine.backup.cutting import Unit
    from recoup.engine.backup.run import read_run_file
    from recoup.engine.backup.session import UPLOADERS, Request
    from recoup.engine.source.exclude import Excludes
    from recoup.engine.source.stream import Stream

    source, name, excludes = wishes["source"], wishes["stdin_name"], wishes["excludes"]
    if (source is None) == (name is None):
        raise Usage("give --source PATH or --stdin NAME, and not both")
    if name is None and (wishes["producer"] or wishes["allow_empty"]):
        raise Usage("a command after --, and --allow-empty, belong to --stdin NAME")
    if name is not None and (excludes or wishes["exclude_caches"] or wishes["one_file_system"] or wishes["unit"] == "fixed"):
        raise Usage("with --stdin there is nothing to leave out, and a stream is always cut by content")
    Excludes(excludes)
    return Request(
        source or "",
        excludes,
        read_run_file(wishes["run_file"]) if wishes["run_file"] is not None else None,
        uploaders=wishes["parallelism"] or UPLOADERS,
        exclude_caches=wishes["exclude_caches"],
        one_file_system=wishes["one_file_system"],
        unit=Unit(wishes["unit"]),
        region_blocks=wishes["region_blocks"],
        stream=Stream(name, wishes["producer"], allow_empty=wishes["allow_empty"]) if name is not None else None,
    )


def _open(location: Location, keys: KeyOptions, writer_keys: str | None) -> tuple[Log, WriterKeys]:
    """The log and the keys to write with: a writer's own, or those that a key file opens."""
    if writer_keys is None:
        unlocked = keys.unlock(location.open())
        return unlocked.log, unlocked.writer
    if keys.given:
        raise Usage("give --key-file (or another key) or --writer-keys, not both")
    from recoup.engine.keys.roles import WriterKeys
    from recoup.engine.log.follow import Log

    writer = WriterKeys.load(writer_keys)
    if keys.vault is not None and keys.vault.lower() != writer.identity.vault_id.hex():
        raise Usage(f"--vault is {keys.vault}, but --writer-keys are those of vault {writer.identity.vault_id.hex()}")
    identity = writer.identity
    return Log(location.open(), identity.vault_id, root_public=identity.root_public, generation=writer.generation), writer


def _fill(summary: Report, result: Result) -> None:
    summary.outcome = "Partial" if result.errors_total else "Succeeded"
    summary.id = summary.manifest = result.id
    summary.files_total, summary.bytes_read, summary.bytes_stored = result.files, result.bytes_read, result.bytes_stored
    summary.errors = result.errors_total
    summary.first_paths = [_shown(error.path) for error in result.errors[:10]]
    if result.errors:
        first = result.errors[0]
        summary.reason = first.reason
        summary.message = f"{result.errors_total} paths could not be taken as they were, first {_shown(first.path)}: {first.message}"
    elif result.notes:
        summary.message = result.notes[0]


def _show(result: Result, output: str) -> None:
    errors = [{"path": _shown(error.path), "reason": error.reason, "message": error.message} for error in result.errors]
    if output == "json":
        from recoup.cli.output import emit_json

        emit_json(
            {
                "id": result.id,
                "filesTotal": result.files,
                "bytesTotal": result.bytes_total,
                "bytesRead": result.bytes_read,
                "bytesStored": result.bytes_stored,
                "bytesRewritten": result.bytes_rewritten,
                "units": [
                    {"unit": unit, "why": why, "files": chosen.files, "bytes": chosen.size, "first": _shown(chosen.first)}
                    for (unit, why), chosen in sorted(result.chosen.items())
                ],
                "errorsTotal": result.errors_total,
                "errors": errors,
                "notes": result.notes,
            }
        )
        return
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    for (unit, why), chosen in sorted(result.chosen.items()):
        if unit == "fixed":
            others = f" and {chosen.files - 1} more" if chosen.files > 1 else ""
            click.echo(f"note: cut in fixed units ({why}): {_shown(chosen.first)}{others}", err=True)
    for error in errors[:_SHOWN]:
        click.echo(f"{error['reason']}: {error['path']}: {error['message']}", err=True)
    if result.errors_total > _SHOWN:
        click.echo(f"and {result.errors_total - _SHOWN} more, listed in the recovery point; -o json shows all", err=True)
    click.echo(result.id)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
