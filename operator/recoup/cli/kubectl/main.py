"""Entry point of the kubectl plugin (`kubectl recoup …`, the program is kubectl-recoup). A new command is a module beside this one."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from recoup import __version__
from recoup.cli.main import CONTEXT, LazyGroup, run

COMMANDS = {
    "status": "What is protected, and what is not fine.",
    "coverage": "Which volumes are protected, stale, unprotected or excluded.",
    "snapshots": "List recovery points.",
    "backup": "Make a recovery point now.",
    "restore": "Restore volumes, with the plan shown and progress.",
    "doctor": "Check the installation, and say what to do.",
}


@click.group(cls=LazyGroup, lazy=COMMANDS, package="recoup.cli.kubectl", context_settings=CONTEXT)
@click.version_option(__version__, "--version", message="kubectl recoup %(version)s")
def root() -> None:
    """Backups and restores of Kubernetes volumes.

    \b
      kubectl recoup status -A
      kubectl recoup coverage -A
      kubectl recoup backup shop --wait
      kubectl recoup snapshots -n shop
      kubectl recoup restore --from shop-20261123t041500z --volume data-0=data-0-restored --wait
      kubectl recoup doctor

    Uses the current context of your kubeconfig, with your rights.

    \b
    Exit codes: 0 done, 3 done but something could not be read or kept, 1 internal, 2 usage, 10 try again,
    20 refused or failed, 130 interrupted or cancelled.
    """  # click's mark for text that is not to be wrapped is a real backspace


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run one command line and exit the process."""
    sys.exit(run(arguments, group=root, name="kubectl recoup"))


if __name__ == "__main__":
    main()
