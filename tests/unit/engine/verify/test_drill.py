"""A drill restores from one location only, and what it says in the log is what came of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from recoup.cli.main import root
from recoup.engine.catalogue import points_of
from recoup.engine.drill import drill
from recoup.engine.proof import read_proofs
from recoup.engine.restore.outcome import Outcome
from recoup.errors import Integrity, Invalid
from tests.unit.engine.replicate.copies import Copies
from tests.unit.engine.verify.test_evidence import QUIET, copies, packs  # noqa: F401  # copies is a fixture


def test_a_point_that_comes_back_whole_has_passed(copies: Copies, tmp_path: Path) -> None:  # noqa: F811  # the fixture
    vault = copies.open(copies.store)
    commit = list(vault.log.state.commits.values())[-1]
    done = drill(vault, commit, str(tmp_path / "scratch"), Outcome(), QUIET, purpose="sunday")
    assert done.passed
    assert {path.name for path in (tmp_path / "scratch").iterdir()} == {path.name for path in copies.home.source.iterdir()}
    [proof] = read_proofs(copies.open(copies.store).log)
    assert (proof.kind, proof.statement["round"], proof.statement["point"]) == ("Drill", "sunday", commit.body.manifest.hex())
    assert (proof.statement["files"], proof.statement["passed"]) == (done.files, True)
    assert done.files > 0
    points = {point.id: point for point in points_of(vault.log.follow(), vault.reader)}
    judgement = points[commit.body.manifest.hex()].judgement
    assert judgement is not None
    assert judgement.drilled_at is not None
    assert not copies.state(copies.home.store).evidence  # it is said where it was tried, and nowhere else


def test_damage_is_a_result_and_other_copies_do_not_hide_it(copies: Copies, tmp_path: Path) -> None:  # noqa: F811  # the fixture
    for path in packs(copies, "copy"):
        path.unlink()
    vault = copies.open(copies.store)
    commit = list(vault.log.state.commits.values())[-1]
    with pytest.raises(Integrity):
        drill(vault, commit, str(tmp_path / "scratch"), Outcome(), QUIET)
    [proof] = read_proofs(vault.log)
    assert not proof.statement["passed"]
    assert proof.statement["reason"].isalnum()
    assert proof.statement["damagedPaths"] > 0
    assert "file-0" not in msgspec.json.encode(proof.statement).decode()  # the log is not sealed: no path in it


def test_a_target_that_will_not_do_is_no_statement_about_the_copy(copies: Copies, tmp_path: Path) -> None:  # noqa: F811  # the fixture
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/mine").write_text("kept")
    vault = copies.open(copies.store)
    commit = list(vault.log.state.commits.values())[-1]
    with pytest.raises(Invalid):
        drill(vault, commit, str(tmp_path / "scratch"), Outcome(), QUIET)
    assert read_proofs(vault.log) == []
    assert (tmp_path / "scratch/mine").read_text() == "kept"


def test_the_command_line_drills_and_shows_the_evidence(tmp_path: Path) -> None:
    source, key = tmp_path / "source", tmp_path / "backup.key"
    source.mkdir()
    (source / "file").write_text("content")
    runner, location = CliRunner(), f"file://{tmp_path / 'location'}"

    def run(*arguments: str) -> str:
        result = runner.invoke(root, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    run("keygen", str(key))
    run("init", "--location", location, "--key-file", str(key))
    made = msgspec.json.decode(run("backup", "--location", location, "--key-file", str(key), "--source", str(source), "-o", "json"))
    where = ("--location", location, "--key-file", str(key))
    shown = run("drill", *where, "--snapshot", made["id"], "--target", str(tmp_path / "scratch"), "--round", "by hand")
    assert "1 files" in shown
    assert (tmp_path / "scratch/file").read_text() == "content"
    [line] = [line for line in run("evidence", *where).splitlines() if "Drill" in line]
    assert "passed, 1 files" in line
