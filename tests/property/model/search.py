"""Breadth first through all states: the shortest way to a state that is wrong, or to one from which nothing good can come any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Found(Generic[S]):
    states: int
    complaint: str = ""
    """What is wrong in the last state of `path`; empty if nothing is."""
    path: tuple[str, ...] = ()
    cut: bool = False
    """The search stopped at its bound: what lies beyond is not known, and progress was not judged."""

    def __str__(self) -> str:
        head = f"{self.states} states" + (" (bound reached)" if self.cut else "")
        return head + (f": {self.complaint}\n  " + "\n  ".join(self.path) if self.complaint else ", all good")


def search(
    first: S,
    steps: Callable[[S], Iterable[tuple[str, S]]],
    wrong: Callable[[S], str],
    good: Callable[[S], bool],
    bound: int,
) -> Found[S]:
    """`wrong` says what must never be; from every state some way must lead to a `good` one (judged if the bound is not met)."""
    came: dict[S, tuple[S, str] | None] = {first: None}
    before: dict[S, list[S]] = {}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        complaint = wrong(state)
        if complaint:
            return Found(len(came), complaint, _path(came, state))
        if len(came) > bound:
            return Found(len(came), cut=True)
        for label, then in steps(state):
            before.setdefault(then, []).append(state)
            if then not in came:
                came[then] = (state, label)
                queue.append(then)
    hopeful = {state for state in came if good(state)}
    pending = list(hopeful)
    while pending:
        for earlier in before.get(pending.pop(), ()):
            if earlier not in hopeful:
                hopeful.add(earlier)
                pending.append(earlier)
    for state in came:  # in the order in which they were met: the first is one of the nearest
        if state not in hopeful:
            return Found(len(came), "from here on nobody can finish", _path(came, state))
    return Found(len(came))


def _path(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    labels: list[str] = []
    while (step := came[state]) is not None:
        state, label = step
        labels.append(label)
    return tuple(reversed(labels))
