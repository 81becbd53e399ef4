"""--exclude globs: which paths a walk leaves out. Pure; matching is on raw bytes, names need not be UTF-8.

A pattern without a slash matches a name at any depth; one with a slash is relative to the source's root. `*` and `?` stay
within a name, `**` crosses directories; a directory that matches is left out with all that is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from recoup.errors import Invalid

_TOKENS = re.compile(rb"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


class Excludes:
    """Compiled patterns. `matches` is asked with the path below the source's root."""

    def __init__(self, patterns: Iterable[str] = (), what: str = "exclude") -> None:
        """`what` names the patterns in errors."""
        self.patterns = tuple(patterns)
        names: list[bytes] = []
        paths: list[bytes] = []
        for pattern in self.patterns:
            raw = pattern.encode("utf-8", "surrogateescape").rstrip(b"/")
            if not raw:
                raise Invalid(f"the {what} pattern {pattern!r} matches nothing: give a name or a path", reason="InvalidPattern")
            anchored = b"/" in raw
            (paths if anchored else names).append(_translate(raw.lstrip(b"/"), pattern, what))
        self._names = _compile(names)
        self._paths = _compile(paths)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def matches(self, parent: bytes, name: bytes) -> bool:
        """Whether to leave out `name` of the directory `parent` (components joined by slashes, empty for the root)."""
        if self._names is not None and self._names.fullmatch(name):
            return True
        path = parent + b"/" + name if parent else name
        return self._paths is not None and self._paths.fullmatch(path) is not None


def _compile(expressions: list[bytes]) -> re.Pattern[bytes] | None:
    return re.compile(b"|".join(b"(?:%b)" % e for e in expressions), re.DOTALL) if expressions else None


def _translate(raw: bytes, pattern: str, what: str) -> bytes:
    parts: list[bytes] = []
    for token in _TOKENS.findall(raw):
        if token == b"**/":
            parts.append(b"(?:.*/)?")
        elif token == b"**":
            parts.append(b".*")
        elif token == b"*":
            parts.append(b"[^/]*")
        elif token == b"?":
            parts.append(b"[^/]")
        elif token.startswith(b"[") and len(token) > 1:
            inner = token[1:-1].replace(b"\\", b"\\\\")
            parts.append(b"[" + (b"^/" + inner[1:] if inner.startswith(b"!") else inner) + b"]")
        else:
            parts.append(re.escape(token))
    expression = b"".join(parts)
    try:
        re.compile(expression)
    except re.error as error:
        raise Invalid(f"the {what} pattern {pattern!r} is not well-formed: {error}", reason="InvalidPattern") from None
    return expression
