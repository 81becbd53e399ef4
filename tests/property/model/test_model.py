"""The logs' rules are safe and live as written, in every interleaving of the models, and each of them is needed.

Every rule is switched off once: a counterexample must be found, and is printed (`pytest -s`). The tables of `sweeper.py`, `home.py` and
`copy.py` say which line of the product a rule stands for.
"""

from __future__ import annotations

import pytest

from tests.property.model import copy, home
from tests.property.model.search import Found, search
from tests.property.model.sweeper import Off

NONE: Off = frozenset()


def at_home(off: Off, first: home.Home, bound: int) -> Found[home.Home]:
    return search(first, lambda state: home.steps(state, off), home.wrong, home.good, bound)


def at_copy(off: Off, first: copy.Copy, bound: int) -> Found[copy.Copy]:
    return search(first, lambda state: copy.steps(state, off), copy.wrong, copy.good, bound)


@pytest.mark.parametrize(
    ("writers", "sweepers", "rounds", "bound"),
    [
        (1, 1, 3, 100_000),
        (1, 2, 1, 200_000),
        pytest.param(2, 1, 2, 1_500_000, marks=pytest.mark.long),
        pytest.param(1, 2, 2, 1_500_000, marks=pytest.mark.long),
    ],
)
def test_the_home_is_safe_and_everybody_finishes(writers: int, sweepers: int, rounds: int, bound: int) -> None:
    found = at_home(NONE, home.begin(writers, sweepers, rounds), bound)
    print(f"home: {writers} writers, {sweepers} sweepers of {rounds} rounds: {found}")
    assert not found.complaint
    assert found.states > 10_000
    assert not found.cut or bound > 1_000_000


@pytest.mark.parametrize(
    ("points", "replicators", "sweepers", "rounds", "forgets", "bound"),
    [
        (2, 1, 1, 3, 3, 100_000),
        (2, 1, 2, 1, 2, 100_000),
        (2, 2, 1, 2, 2, 200_000),
        pytest.param(2, 2, 1, 3, 2, 1_000_000, marks=pytest.mark.long),
        pytest.param(2, 1, 2, 2, 2, 1_000_000, marks=pytest.mark.long),
        pytest.param(3, 2, 1, 2, 2, 1_000_000, marks=pytest.mark.long),
    ],
)
def test_a_copy_is_safe_and_gets_everything(points: int, replicators: int, sweepers: int, rounds: int, forgets: int, bound: int) -> None:
    found = at_copy(NONE, copy.begin(points, replicators, sweepers, rounds, forgets), bound)
    print(f"copy: {points} points, {replicators} replicators, {sweepers} sweepers of {rounds} rounds: {found}")
    assert not found.complaint
    assert found.states > 10_000
    assert not found.cut or bound > 500_000


NEEDED_AT_HOME = {
    "atomic": "was told that its COMMIT stands, and it does not",
    "sweep-compares": "is live and a delete",
    "sweep-waits": "is at work, and what it has put was deleted",
    "delete-after-sweep": "was deleted",
    "look-again": "is live and a delete",
    "open-first": "is at work, and what it has put was deleted",
    "refer-live": "is live and a delete",
    "commit-once": "two COMMITs",
    "commit-after-abort": "was ended by an ABORT",
    "commit-compares": "is live and a delete",
}
NEEDED_AT_A_COPY = {
    ("atomic",): "is live and a delete",
    ("incarnations",): "nobody can finish",
    ("incarnations", "mirror-compares"): "is live and a delete",
    ("mirror-compares",): "is live and a delete",
    ("mirror-once",): "two MIRRORs",
    ("mirror-forgotten",): "was forgotten here and is back",
    ("put-first",): "is gone",
    ("sweep-compares",): "is live and a delete",
    ("look-again",): "is live and a delete",
    ("delete-after-sweep",): "is live and a delete",
}


@pytest.mark.parametrize("rule", NEEDED_AT_HOME)
def test_the_home_breaks_without(rule: str) -> None:
    found = at_home(frozenset({rule}), home.begin(1, 1, 2), 50_000)
    print(f"without {rule}: {found}")
    assert NEEDED_AT_HOME[rule] in found.complaint


@pytest.mark.parametrize("rules", NEEDED_AT_A_COPY, ids="+".join)
def test_a_copy_breaks_without(rules: tuple[str, ...]) -> None:
    found = at_copy(frozenset(rules), copy.begin(2, 1 if "incarnations" in rules else 2, 1, 2, 2), 100_000)
    print(f"without {' and '.join(rules)}: {found}")
    assert NEEDED_AT_A_COPY[rules] in found.complaint


@pytest.mark.long
def test_what_saves_work_only_is_not_needed() -> None:
    """A CONDEMN that was decided before another one's SWEEP names at worst what is swept already: no state is wrong without this rule."""
    assert not at_home(frozenset({"condemn-fresh"}), home.begin(1, 2, 1), 200_000).complaint
