"""A part of a volume: how it is told to the mover, and to people."""

from recoup.api.restorerequest import RestorePaths

_SHOWN = 5


def path_options(paths: RestorePaths) -> tuple[str, ...]:
    """The options of `recoup restore` (docs/command-line.md)."""
    chosen = [part for pattern in paths.include for part in ("--include", pattern)]
    left_out = [part for pattern in paths.exclude for part in ("--exclude", pattern)]
    return (*chosen, *left_out, *(("--into", paths.into) if paths.into else ()))


def describe_paths(paths: RestorePaths) -> str:
    """In words, such as `a selection, not the whole volumes: only etc/**, without *.tmp, into old`; empty for everything at its place."""
    parts = [f"only {_some(paths.include)}"] if paths.include else []
    parts += [f"without {_some(paths.exclude)}"] if paths.exclude else []
    parts += [f"into {paths.into}"] if paths.into else []
    return ("a selection, not the whole volumes: " if paths.is_selection else "") + ", ".join(parts)


def _some(patterns: tuple[str, ...]) -> str:
    more = f" and {len(patterns) - _SHOWN} more patterns" if len(patterns) > _SHOWN else ""
    return " ".join(patterns[:_SHOWN]) + more
