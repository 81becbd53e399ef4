"""--exclude globs as a table."""

from __future__ import annotations

import pytest

from recoup.engine.source.exclude import Excludes
from recoup.errors import Invalid

TABLE = [
    ("*.tmp", "a.tmp", True),
    ("*.tmp", "deep/er/a.tmp", True),
    ("*.tmp", "a.tmp.keep", False),
    ("cache", "deep/cache", True),
    ("cache", "cached", False),
    ("/cache", "cache", True),
    ("/cache", "deep/cache", False),
    ("var/cache", "var/cache", True),
    ("var/cache", "a/var/cache", False),
    ("var/*", "var/x", True),
    ("var/*", "var/x/y", False),
    ("var/**", "var/x/y", True),
    ("var/**", "var", False),
    ("**/log/*.gz", "log/a.gz", True),
    ("**/log/*.gz", "a/b/log/a.gz", True),
    ("**/log/*.gz", "a/blog/a.gz", False),
    ("a?c", "abc", True),
    ("a?c", "x/ac", False),
    ("[ab].c", "b.c", True),
    ("[!ab].c", "b.c", False),
    ("[!ab].c", "c.c", True),
    ("folder/", "x/folder", True),
    ("a+b(c)", "a+b(c)", True),
    ("a+b(c)", "aab(c)", False),
    ("new\nline", "x/new\nline", True),
    ("\udcff*", "\udcffx", True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), TABLE)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    parent, _, name = path.encode("utf-8", "surrogateescape").rpartition(b"/")
    assert Excludes([pattern]).matches(parent, name) is expected


def test_several_patterns_and_none() -> None:
    both = Excludes(["*.a", "/b"])
    assert both.matches(b"", b"x.a")
    assert both.matches(b"", b"b")
    assert not both.matches(b"c", b"b")
    assert not Excludes()
    assert not Excludes().matches(b"", b"x")


@pytest.mark.parametrize("pattern", ["", "/", "[b-a]"])
def test_patterns_that_mean_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(Invalid) as caught:
        Excludes([pattern])
    assert caught.value.reason == "InvalidPattern"
