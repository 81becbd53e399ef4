"""Durations as users write them: `90s`, `15m`, `4h`, `30d`, `8w`, and sums of those in falling order such as `4h30m`.

One pattern everywhere (the CRDs repeat it). A week has 7 days and a day 24 hours: these are lengths, not calendar steps.
Zero is not a duration: what is to be off is left out.
"""

import re
from datetime import timedelta

from recoup.errors import Invalid

PATTERN = r"^([1-9][0-9]{0,5}w)?([1-9][0-9]{0,5}d)?([1-9][0-9]{0,5}h)?([1-9][0-9]{0,5}m)?([1-9][0-9]{0,5}s)?$"
_PARTS = re.compile(PATTERN)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration(text: str) -> timedelta:
    """Raises Invalid with the accepted forms."""
    match = _PARTS.fullmatch(text)
    if match is None or not text:
        raise Invalid(f"{text!r} is not a duration: write 90s, 15m, 4h, 30d, 8w or a sum such as 4h30m", reason="InvalidDuration")
    return timedelta(seconds=sum(int(part[:-1]) * _SECONDS[part[-1]] for part in match.groups() if part))


def to_duration(length: timedelta, *, parts: int = 2) -> str:
    """Write a length with its `parts` largest units, rounded down: `3d2h`, `41s`. Below a second, and below zero, it is `0s`."""
    rest = max(0, int(length.total_seconds()))
    written: list[str] = []
    for unit, seconds in _SECONDS.items():
        if unit == "w":  # people read 30d more easily than 4w2d
            continue
        count, remainder = divmod(rest, seconds)
        if count:
            written.append(f"{count}{unit}")
            rest = remainder
        if len(written) == parts:
            break
    return "".join(written) or "0s"
