"""Verification that heals: one run finds damage, brings it back from a copy, looks again, and leaves evidence of what is so at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from recoup.cli.main import root
from recoup.engine.catalogue import Point, points_of
from recoup.engine.evidence import Verification, read_statement, seconds_of
from recoup.engine.format.names import digest_of, log_name
from recoup.engine.healing.look import Check
from recoup.engine.healing.run import heal
from recoup.engine.keys.signing import verify as is_signed
from recoup.engine.proof import read_proofs
from recoup.engine.vault import Unlocked
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.objects import DAY, PERIOD, Sampler
from recoup.engine.verify.run import verify
from recoup.errors import Integrity
from recoup.report import Progress
from tests.unit.engine.replicate.copies import Copies

QUIET = Progress(quiet=True)


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    made = Copies.make(tmp_path)
    made.home.source.mkdir(exist_ok=True)
    for number in range(3):
        (made.home.source / f"file-{number}").write_bytes(os.urandom(300_000))
        made.home.back_up()
    made.replicate()
    return made


def packs(copies: Copies, where: str) -> list[Path]:
    return sorted((copies.directory / where).glob("v/*/d/*/*"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def check(copies: Copies, level: int, *, healing: bool = True, now: float | None = None, purpose: str = "") -> tuple[Unlocked, Findings]:
    """One verification of the home, as a new process does it."""
    vault = copies.open(copies.home.store)

    def healer() -> object:
        return heal(copies.home.store, [copies.store], copies.vault_id, QUIET, check=Check.RECORDED, threads=2)

    commits = list(vault.log.state.commits.values())
    return vault, verify(vault, commits, level, QUIET, healer=healer if healing else None, now=now, purpose=purpose)


def points(vault: Unlocked) -> list[Point]:
    return list(points_of(vault.log.follow(), vault.reader))


def test_what_is_damaged_is_healed_and_attested_in_one_run(copies: Copies) -> None:
    for path in packs(copies, "location"):
        flip(path)
    damaged = len(packs(copies, "location"))
    vault, findings = check(copies, 3, purpose="slot")
    assert findings.good
    assert (findings.found_objects, findings.healed, findings.healing) == (damaged, damaged, "Tried")
    assert all(point.verified_level == 3 and point.judgement and point.judgement.damage is None for point in points(vault))
    said = read_statement(vault.log.state.evidence[-1].body, Verification)
    assert said is not None
    assert (said.round, said.healed_objects, said.damaged, said.chosen) == ("slot", damaged, (), False)
    assert check(copies, 4, healing=False)[1].good


def test_what_is_damaged_everywhere_stays_damaged_until_it_was_seen_good(copies: Copies) -> None:
    victim = packs(copies, "location")[0]
    whole = victim.read_bytes()
    for where in ("location", "copy"):
        flip(copies.directory / where / victim.relative_to(copies.directory / "location"))
    vault, findings = check(copies, 3)
    assert not findings.good
    bad = {point.id: point.judgement.damage for point in points(vault) if point.judgement and point.judgement.damage}
    assert set(bad) == {affected.point for affected in findings.affected}
    assert bad
    assert all(damage.statement.paths == 1 and damage.statement.cleared_by == 1 and damage.healing == "Tried" for damage in bad.values())
    # A level that only asks for presence does not take the damage back: what was damaged once is read each time.
    vault, again = check(copies, 1, healing=False)
    assert not again.good
    assert {point.id for point in points(vault) if point.judgement and point.judgement.damage} == set(bad)
    victim.write_bytes(whole)
    vault, healthy = check(copies, 1, healing=False)
    assert healthy.good
    assert not any(point.judgement and point.judgement.damage for point in points(vault))


def test_damage_lasts_since_it_was_found_first(copies: Copies) -> None:
    packs(copies, "location")[0].unlink()
    vault, _ = check(copies, 1, healing=False)
    first = next(point.judgement.damage for point in points(vault) if point.judgement and point.judgement.damage)
    vault, _ = check(copies, 1, healing=False)
    second = next(point.judgement.damage for point in points(vault) if point.judgement and point.judgement.damage)
    assert (second.since, second.at > first.at, second.healing) == (first.since, True, "")


def test_no_object_falls_between_two_sampled_runs(copies: Copies) -> None:
    """Whatever the distances between runs are, each object is due exactly once in a period."""
    reader = copies.open(copies.home.store).reader
    digests = [digest_of(bytes([number])) for number in range(200)]
    for steps in ([PERIOD], [DAY] * 30, [DAY * 7, DAY * 13, 1, DAY * 10 - 1]):
        at, due = 1_800_000_000.0, dict.fromkeys(digests, 0)
        for step in steps:
            sampler = Sampler(reader, at, at + step)
            at += step
            for digest in digests:
                due[digest] += sampler.is_due(digest)
        assert set(due.values()) == {1}, steps


def test_a_sampled_run_goes_on_where_the_last_one_ended(copies: Copies) -> None:
    vault, _ = check(copies, 2, now=1_800_000_000.0)
    said = read_statement(vault.log.state.evidence[-1].body, Verification)
    assert said is not None
    assert seconds_of(said.started) == 1_800_000_000.0
    flip(packs(copies, "location")[0])
    _, findings = check(copies, 2, now=1_800_000_000.0 + PERIOD)
    assert len(findings.damages) == 0  # healed
    assert findings.healed == 1


def test_evidence_is_shown_with_a_signature_that_anybody_can_check(copies: Copies) -> None:
    check(copies, 3, purpose="audit")
    identity = copies.home.vault.identity
    arguments = ["evidence", "--location", f"file://{copies.directory / 'location'}", "--fingerprint", identity.fingerprint, "-o", "json"]
    result = CliRunner().invoke(root, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    shown: list[dict[str, Any]] = msgspec.json.decode(result.stdout)
    assert [one["statement"]["round"] for one in shown] == ["audit"]
    data = copies.home.store.get(log_name(copies.vault_id, shown[-1]["entry"]))
    assert digest_of(data).hex() == shown[-1]["digest"]
    assert is_signed(bytes.fromhex(shown[-1]["signer"]["publicKey"]), b"rcp1/entry", data[:-64], data[-64:])
    table = CliRunner().invoke(root, arguments[:-2], catch_exceptions=False).stdout
    assert "level 3: 3 points" in table


def test_evidence_that_was_changed_in_the_bucket_is_not_shown(copies: Copies) -> None:
    vault, _ = check(copies, 3)
    entry = copies.directory / "location" / log_name(copies.vault_id, vault.log.state.evidence[-1].seq)
    data = entry.read_bytes().replace(b'"points":3', b'"points":9')
    entry.chmod(0o644)
    entry.write_bytes(data)
    with pytest.raises(Integrity, match="signature"):
        read_proofs(vault.log)


def test_the_next_backup_stores_again_what_is_damaged_everywhere(copies: Copies) -> None:
    """Nothing new refers to a damaged object, so the next point is whole though the ones before it are not."""
    for where in ("location", "copy"):
        for path in packs(copies, where):
            path.unlink()
    _, findings = check(copies, 3)
    assert len(findings.affected) == 3
    copies.home.vault = copies.open(copies.home.store)
    made = copies.home.back_up()
    vault, again = check(copies, 4, healing=False)
    assert {affected.point for affected in again.affected} == {affected.point for affected in findings.affected}
    judged = {point.id: point.judgement for point in points(vault)}
    newest = judged[next(point for point in judged if point not in {affected.point for affected in findings.affected})]
    assert newest is not None
    assert (newest.level, newest.damage) == (4, None)
    assert made


def test_everything_that_a_location_lost_comes_back_in_one_run_but_what_nobody_has(copies: Copies) -> None:
    """A damaged object set hides what it names: healing goes on until nothing new comes to light. Found on the cluster."""
    here, there = copies.directory / "location", copies.directory / "copy"
    names = sorted(path.relative_to(there) for area in "dmx" for path in there.glob(f"v/*/{area}/*/*"))
    shared = packs(copies, "copy")[0].relative_to(there)
    for name in names:
        flip(here / name)
    (there / shared).unlink()
    _, findings = check(copies, 3)
    assert [damage.name for damage in findings.damages.values()] == [str(shared)]
    assert (findings.found_objects, findings.healed) == (len(names), len(names) - 1)
    assert all(affected.paths and not affected.whole and affected.explained for affected in findings.affected)
    assert check(copies, 1, healing=False)[1].objects == findings.objects
