"""Hostile input never ends in anything but a clear error or success, nor takes more than twice the memory that is declared.

Quick: a number of shaped mutations of each target with a fixed seed, and the fuzzer itself for some seconds. Long: the fuzzer for minutes,
each target alone; its corpus is kept (`build/fuzz`), so that a later run goes on. That it finds what is there: see test_findings.py.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from recoup.errors import Integrity
from tests.fuzz.all import GROUPS, group
from tests.fuzz.mutate import mutate
from tests.fuzz.target import Target, allowed, judge, memory_of

ROOT = Path(__file__).parents[2]
INPUTS, OF_THE_SLOW = 200, 16
"""Mutations of each target in the quick selection: a number and not a time, so that every machine judges the same ones."""
COVERED = ("tree", "keyring-signed", "entry-commit")
"""Fuzzed with coverage in the quick selection, some seconds each."""
no_atheris = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python (see pyproject.toml)")


@pytest.mark.parametrize("name", GROUPS)
def test_mutations_of_what_is_honest(name: str) -> None:
    targets = group(name)
    refused = taken = 0
    for target in targets:
        rng, pool = random.Random(target.name), list(target.seeds)
        assert any(tried(target, seed) for seed in target.seeds) or target.name in HARD, f"{target.name}: no seed is honest"
        for _ in range(OF_THE_SLOW if target.slow else INPUTS):
            data = mutate(rng.choice(pool), rng)
            if tried(target, data):
                taken += 1
                pool.append(data)
            else:
                refused += 1
        for data in pool[-3:]:
            assert memory_of(target, data) <= allowed(target, data), (target.name, data[:200])
    print(f"{name}: {len(targets)} targets, {taken} inputs taken, {refused} refused")
    assert taken > 0
    assert refused > len(targets)


HARD = {"entry-init", "entry-mirror"}
"""Whose seeds are refused by a log that has begun: they are read as the first entry, or in a copy's log, by the others."""


def tried(target: Target, data: bytes) -> bool:
    """`judge`, with the input in what it raises."""
    try:
        return judge(target, data)
    except Exception as error:
        error.add_note(f"{target.name} was given {data!r}")
        raise


def test_what_is_neither_is_seen() -> None:
    """The judge itself: another exception goes through, an error without a message does not pass."""
    with pytest.raises(ZeroDivisionError):
        judge(Target("x", (), lambda _data: 1 // 0), b"")

    def mute(_data: bytes) -> None:
        raise Integrity("")

    with pytest.raises(AssertionError):
        judge(Target("x", (), mute), b"")
    greedy = Target("x", (), lambda _data: bytearray(64 << 20))
    assert memory_of(greedy, b"") > allowed(greedy, b"")


def fuzz(name: str, seconds: int, corpus: Path) -> str:
    """Run the fuzzer; its last words. Fails with the traceback and the input if it found something."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz", name, "--seconds", str(seconds), "--corpus", str(corpus)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds + 120, check=False)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-6_000:]
    return done.stderr


@no_atheris
@pytest.mark.parametrize("name", COVERED)
def test_with_coverage(name: str, tmp_path: Path) -> None:
    assert "stat::number_of_executed_units" in fuzz(name, 2, tmp_path / "corpus")


@no_atheris
@pytest.mark.long
@pytest.mark.parametrize("name", [target.name for known in ("records", "container", "keys", "log", "points") for target in group(known)])
def test_each_target_for_a_minute(name: str) -> None:
    corpus = ROOT / "build" / "fuzz" / name
    said = fuzz(name, 60, corpus)
    units = next(line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line)
    print(f"{name}: {units} inputs, {len(list(corpus.iterdir()))} of them kept")
