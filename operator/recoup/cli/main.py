"""Entry point of `recoup`: finds the command, runs it, turns what it raises into a message and an exit code.

Responsible for: lazy loading (the help of a command imports neither the engine nor boto3), signals, broken pipes and exit codes
(docs/command-line.md). A new command is a module beside this one with a click command named `command`, and a line in COMMANDS.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from recoup import __version__
from recoup.errors import Cancelled, RecoupError

COMMANDS = {
    "keygen": "Make a key file, or an offline recovery key.",
    "init": "Make a location ready and create a vault in it.",
    "keys": "Who opens a vault: list, add, remove, rotate, shred.",
    "backup": "Make a recovery point of a directory, a file or a block device.",
    "snapshots": "List the recovery points of a vault.",
    "ls": "List what a recovery point holds.",
    "find": "Find paths in all recovery points, and their versions.",
    "cat": "Write a file of a recovery point to stdout.",
    "diff": "Say what changed between recovery points, or to a directory.",
    "stats": "Say how much each recovery point takes.",
    "restore": "Bring a recovery point back, and compare it.",
    "verify": "Check that recovery points can be restored.",
    "drill": "Restore a recovery point to scratch, compare it, and sign the result.",
    "evidence": "Show what was verified, drilled and destroyed, with its signatures.",
    "forget": "Let go of recovery points, by rules or one by one.",
    "pin": "Keep a recovery point, whatever retention says.",
    "unpin": "Let retention decide about a recovery point again.",
    "replicate": "Copy vaults to another location.",
    "heal": "Bring back what a location lost, from other locations.",
    "prune": "Delete what no recovery point needs.",
    "protect": "Extend the object lock of what recovery points need.",
    "repack": "Move what is needed out of packs that are mostly waste.",
    "doctor": "Probe a location: is it reachable, atomic, complete, on time?",
    "controller": "Run the operator in a cluster.",
    "keys-job": "Make a vault's keys and hand them out; run by the operator.",
    "adopt-job": "Hand out what lists vaults made elsewhere; run by the operator.",
    "handout-job": "Bring a mover beside its workload its keys; run by the operator.",
}

BROKEN_PIPE_EXIT_CODE = 141  # what a shell shows for a program that SIGPIPE ended
INTERRUPTED = Cancelled.exit_code


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is called: `lazy` is name → help, `package` holds a module for each."""

    def __init__(self, *args: Any, lazy: Mapping[str, str], package: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.lazy, self.package = lazy, package

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as click calls it
        if cmd_name not in self.lazy:
            return None
        command = import_module(f"{self.package}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # as click calls it
        with formatter.section("Commands"):
            formatter.write_dl(list(self.lazy.items()))


CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


@click.group(cls=LazyGroup, lazy=COMMANDS, package="recoup.cli", context_settings=CONTEXT)
@click.version_option(__version__, "--version", message="recoup %(version)s")
def root() -> None:
    """Encrypted, verified backups in a directory or a bucket.

    \b
    A first backup and restore:
      recoup keygen backup.key
      recoup init    --location file:///srv/backups --key-file backup.key
      recoup backup  --location file:///srv/backups --key-file backup.key --source /home
      recoup restore --location file:///srv/backups --key-file backup.key --snapshot ID --target /mnt/new

    \b
    Exit codes: 0 done, 3 recovery point made but some files could not be read, 4 different (diff), 1 internal, 2 usage,
    10 try again, 20 invalid input or configuration, 30 integrity, 40 key unavailable or wrong, 130 interrupted.
    """  # click's mark for text that is not to be wrapped is a real backspace


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command line and exit the process."""
    code = run(arguments)
    if code == INTERRUPTED:  # threads may wait for the network for minutes; nothing that they do matters any more
        leave_now(code)
    sys.exit(code)


def run(arguments: list[str] | None = None, *, group: click.Group = root, name: str = "recoup") -> int:
    """Run one command line of a program; the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # not group.main(), which has its own ideas of interrupts and broken pipes
        with group.make_context(name, list(sys.argv[1:] if arguments is None else arguments)) as context:
            result = group.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except RecoupError as error:
        return _fail(str(error), error.reason, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped before the end", Cancelled.reason, INTERRUPTED)
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE_EXIT_CODE
    except Exception as error:  # noqa: BLE001  # the last resort: a bug must show where it is
        traceback.print_exc()
        return _fail(f"this is a bug in recoup: {type(error).__name__}: {error}", "InternalError", 1)
    return result if isinstance(result, int) else 0


def leave_now(code: int) -> NoReturn:
    """End the process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, reason: str, code: int) -> int:
    try:
        print(f"error: {message} [{reason}]", file=sys.stderr)
    except BrokenPipeError:
        _silence()
    return code


def _silence() -> None:
    """Let the interpreter flush its streams at exit without a second broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())


if __name__ == "__main__":
    main()
