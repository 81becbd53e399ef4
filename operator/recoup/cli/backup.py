"""`recoup backup`: make a recovery point of a directory, a file or a block device.

Wires keys, store, run file and progress with engine/backup. The same command with --writer-keys is the mover of a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recoup.cli.options import KeyOptions, Location, key_options, location_options, output_option, parallelism_option, report_option
from recoup.errors import PARTIAL_EXIT_CODE, Usage
from recoup.report import Progress, Report, reporting

if TYPE_CHECKING:
    from recoup.engine.backup.session import Result
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
@click.option("--source", metavar="PATH", required=True, help="Directory, file or block device to back up.")
@click.option(
    "--exclude",
    "excludes",
    metavar="GLOB",
    multiple=True,
    help="Leave out what matches: a name at any depth (*.tmp), or with a slash a path below the source (var/cache/**); several times.",
)
@click.option("--run", "run_file", metavar="FILE", type=click.Path(dir_okay=False), help="Which run of which policy this is, as JSON.")
@parallelism_option
@report_option
@output_option
def command(
    location: Location,
    keys: KeyOptions,
    writer_keys: str | None,
    source: str,
    excludes: tuple[str, ...],
    run_file: str | None,
    parallelism: int | None,
    report: str | None,
    output: str,
) -> int:
    """Make a recovery point of a directory, a file or a block device.

    Prints the recovery point's id. The first backup reads everything; later ones of the same source read what changed. Nothing
    exists until the last step, so an interrupted backup leaves earlier points as they were, and can simply be run again.

    \b
    Examples:
      recoup backup --location file:///srv/backups --key-file backup.key --source /home --exclude '*.tmp'
      recoup backup --location s3://bucket/prefix --key-file backup.key --source /dev/vg0/data

    Exit code 3: the recovery point was made, but some files changed, vanished or could not be read. They are listed.
    """  # click's mark for text that is not to be wrapped is a real backspace
    with reporting(report) as summary:
        result = _run(location, keys, writer_keys, source, excludes, run_file, parallelism)
        _fill(summary, result)
    _show(result, output)
    return PARTIAL_EXIT_CODE if result.errors_total else 0


def _run(
    location: Location,
    keys: KeyOptions,
    writer_keys: str | None,
    source: str,
    excludes: tuple[str, ...],
    run_file: str | None,
    parallelism: int | None,
) -> Result:
    from recoup.engine.allocator import tune_allocator, without_collector

    tune_allocator()
    from recoup.engine.backup.run import read_run_file
    from recoup.engine.backup.session import UPLOADERS, Request, back_up
    from recoup.engine.source.exclude import Excludes

    Excludes(excludes)  # a bad pattern is said before anything is asked of the location
    run = read_run_file(run_file) if run_file is not None else None
    log, writer = _open(location, keys, writer_keys)
    progress = Progress()
    try:
        with without_collector():
            return back_up(
                log,
                writer,
                Request(source, excludes, run, uploaders=parallelism or UPLOADERS),
                lambda size, files: progress.start("backup", bytes_total=size, files_total=files),
                lambda size, files: progress.advance(data=size, files=files),
            )
    finally:
        progress.end()


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
    return Log(location.open(), writer.identity.vault_id, root_public=writer.identity.root_public), writer


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
                "errorsTotal": result.errors_total,
                "errors": errors,
                "notes": result.notes,
            }
        )
        return
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    for error in errors[:_SHOWN]:
        click.echo(f"{error['reason']}: {error['path']}: {error['message']}", err=True)
    if result.errors_total > _SHOWN:
        click.echo(f"and {result.errors_total - _SHOWN} more, listed in the recovery point; -o json shows all", err=True)
    click.echo(result.id)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
