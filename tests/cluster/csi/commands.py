"""Run a program to its end; its message becomes the error."""

import subprocess
from pathlib import Path


class CommandFailed(Exception):
    """A program ended with an error; the message is the command and what it said."""


def run(*command: str | Path) -> str:
    """Return what the program printed; raise CommandFailed with what it complained about."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise CommandFailed(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
