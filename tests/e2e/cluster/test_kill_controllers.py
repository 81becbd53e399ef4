"""The working controller dies by kill -9 in every phase of backups and restores; the runs end Ready, with what was there, once.

Runs are made to stand one in each phase at the same time (standing.py): the write that would end the phase is held. In the usual
selection the controller is killed once for all of them; with `long` it is killed for each phase alone, while just that write is in the
air. What exists says where each run stands when the controller dies (run_phases.py), not what it was meant to do.
"""

from __future__ import annotations

import pytest

from recoup.controller.resources import PVC, RESTORE, SNAPSHOT
from tests.e2e.cluster.product import Product, await_controller
from tests.e2e.cluster.run_phases import BACKUP, Subject
from tests.e2e.cluster.run_phases import RESTORE as RESTORE_PHASES
from tests.e2e.cluster.standing import LONGEST, Run, Stage, staged
from tests.e2e.cluster.together import assert_honest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

WRITE = """
mkdir /a/00/many; cd /a/00/many; head -c 1M /dev/urandom | split -a 3 -b 10K; ln xaaa linked; ln -s xaab pointer; chmod 4750 xaac
for tree in /a/*; do [ $tree = /a/00 ] || cp -a /a/00/many $tree/; head -c 100K /dev/urandom > $tree/own; done; sync
"""
COMPARE = """
list() {
  cd $1; find . -mindepth 1 -printf '%p %y %m %U %G %s %T@ %n %l\\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}
for tree in /b/*; do list /a/$(basename $tree) > /tmp/a; list $tree > /tmp/b; diff /tmp/a /tmp/b; ls $tree/many/x* | wc -l; done
"""
FILES = 103
"""1 MiB in pieces of 10 KiB."""


def backups(stage: Stage) -> list[Run]:
    """One per phase. Those with a slow mover come last: only their place is slow."""
    phases = sorted(BACKUP, key=lambda phase: phase.slow)
    subjects = [Subject(SNAPSHOT.kind, stage.team.name, f"b{number:02}") for number in range(len(phases))]
    return [Run(phase, subject, subject.name, f"d{subject.name[1:]}") for phase, subject in zip(phases, subjects, strict=True)]


def restores(stage: Stage, made: list[Run]) -> list[Run]:
    """One per phase. What is of the slow place may be restored only as far as no data are needed, or slowly."""
    phases = sorted(RESTORE_PHASES, key=lambda phase: (phase.slow, phase.name == "before the claim"))
    pairs = list(zip(phases, made, strict=True))
    subjects = [Subject(RESTORE.kind, stage.team.name, f"r{run.claim[1:]}", target=f"c{run.claim[1:]}") for run in made]
    return [Run(phase, subject, run.point, run.claim) for (phase, run), subject in zip(pairs, subjects, strict=True)]


def prepare(stage: Stage, runs: list[Run]) -> None:
    """A claim with data and a policy for each."""
    for run in runs:
        stage.team.claim(run.claim)
        place = stage.place_of(run.phase)
        stage.team.policy(run.subject.name, location=place.name, selector={"persistentVolumeClaims": [run.claim]})
    stage.team.run("write", WRITE, **{run.claim: f"/a/{run.claim[1:]}" for run in runs})


def finish(stage: Stage, runs: list[Run]) -> None:
    for run in runs:
        if run.is_cancelled:
            stage.team.wait_over(RESTORE, run.subject.name, LONGEST)
            assert stage.team.find(PVC, run.subject.target) is None
        else:
            stage.team.wait_ready(SNAPSHOT if run.kind == "backup" else RESTORE, run.subject.name, LONGEST)


def assert_as_it_was(stage: Stage, made: list[Run], brought_back: list[Run]) -> None:
    """What came back is what was there; each recovery point is there once; nothing of ours is left."""
    whole = [run for run in brought_back if not run.is_cancelled]
    mounts = {run.claim: f"/a/{run.claim[1:]}" for run in whole} | {run.subject.target: f"/b/{run.claim[1:]}" for run in whole}
    assert stage.team.run("compare", COMPARE, **mounts).split() == [str(FILES)] * len(whole)
    assert_honest(stage.team, stage.product.place, stage.slow)
    assert len(stage.product.place.points(stage.team.name) + stage.slow.points(stage.team.name)) == len(made)
    assert not stage.product.volumes_left(stage.team.name)


def show(stage: Stage, runs: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\ncontroller killed {stage.kills} times; runs met by a kill, by phase:")
        for run in runs:
            print(f"  {run.kind:<8} {run.phase.name:<28} {stage.met[run.kind, run.phase.name]:3}")


def act(product: Product, name: str, capsys: pytest.CaptureFixture[str], *, one_by_one: bool) -> Stage:
    """Backups in every phase, then restores in every phase, with kills; all that must hold afterwards is checked."""
    with staged(product, name) as stage:
        made = backups(stage)
        prepare(stage, made)
        brought_back = restores(stage, made)
        for runs in (made, brought_back):
            with stage.standing(runs) as holds:
                if one_by_one:
                    for run in runs:
                        stage.kill_for(run, holds.get(run))
                else:
                    stage.kill_for_all(runs, holds)
            finish(stage, runs)
        assert_as_it_was(stage, made, brought_back)
        show(stage, made + brought_back, capsys)
        assert all(stage.met[run.kind, run.phase.name] == 1 for run in made + brought_back)
    await_controller(product.kube)
    return stage


def test_the_controller_is_killed_in_each_phase(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice: once while a backup stands in each phase of backups, once while a restore does in each of theirs."""
    assert act(product, "kill-controller", capsys, one_by_one=False).kills == 2


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2, 3], ids=lambda number: f"round-{number}")
def test_the_controller_is_killed_for_each_phase_alone(product: Product, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """As often as there are phases."""
    stage = act(product, f"kill-controller-{number}", capsys, one_by_one=True)
    assert stage.kills == len(BACKUP) + len(RESTORE_PHASES)
