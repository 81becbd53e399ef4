"""Each level finds what it promises to find, names objects, points and paths, and claims nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recoup.engine.catalogue import points_of
from recoup.engine.format.kinds import BlockKind
from recoup.engine.records.manifest import Totals
from recoup.engine.stores.file import FileStore
from recoup.engine.verify.findings import Findings
from recoup.engine.verify.objects import DAY, PERIOD
from recoup.engine.verify.run import verify
from recoup.errors import Denied
from recoup.report import Progress
from tests.unit.engine.restore.forge import Forger, Tree, directory, file

TREE: Tree = [
    ((), [file(b"a", b"alpha"), directory(b"d"), file(b"z", b"zulu" * 100_000)]),
    ((b"d",), [file(b"bad", b"beta" * 500_000), file(b"c", b"gamma")]),
]


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    made = Forger.make(tmp_path / "location")
    made.group = 1
    return made


def check(forger: Forger, level: int, *, day: int = 0, record: bool = False) -> Findings:
    state = forger.unlocked.log.follow()
    return verify(forger.unlocked, list(state.commits.values()), level, Progress(quiet=True), record=record, now=float(day * DAY))


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("level", range(5))
def test_what_is_good_is_called_good(forger: Forger, level: int) -> None:
    forger.tree(TREE)
    forger.device(1 << 20, [(0, b"x" * 65_536)])
    findings = check(forger, level)
    assert findings.good, findings
    assert findings.points == 2
    if level:
        assert findings.objects == findings.objects_live > 10
    assert (findings.bytes_read > 2_400_000) == (level >= 3)
    assert findings.files == (5 if level == 4 else 0)


@pytest.mark.parametrize(
    ("harm", "reason", "found_from"), [(gone, "ObjectMissing", 1), (cut, "ObjectTruncated", 1), (flipped, "DigestMismatch", 3)]
)
def test_a_damaged_pack_is_found_from_the_level_on_that_can(
    forger: Forger, tmp_path: Path, harm: Callable[[Path], None], reason: str, found_from: int
) -> None:
    point = forger.tree(TREE)
    other = forger.tree([((), [file(b"elsewhere", b"untouched")])])
    bad = forger.packs[2]
    harm(tmp_path / "location" / bad)
    for level in (1, 3, 4):
        findings = check(forger, level)
        if level < found_from:
            assert findings.good
            continue
        assert [damage.name for damage in findings.damages.values()] == [bad]
        assert {damage.reason for damage in findings.damages.values()} <= {reason, "DigestMismatch"}
        assert [(affected.point, affected.paths, affected.whole) for affected in findings.affected] == [(point, ["d/bad"], "")]
        assert other not in {affected.point for affected in findings.affected}


def test_every_object_of_a_point_counts(forger: Forger, tmp_path: Path) -> None:
    """Whichever object is lost, V1 names it and the point; none is forgotten."""
    point = forger.tree(TREE)
    names = [name for name, _ in FileStore(str(tmp_path / "location")).list("v/") if name.split("/")[2] in {"d", "m", "x"}]
    for name in names:
        path, hidden = tmp_path / "location" / name, tmp_path / "hidden"
        path.rename(hidden)
        findings = check(forger, 1)
        assert [damage.name for damage in findings.damages.values()] == [name]
        assert [affected.point for affected in findings.affected] == [point], name
        path.parent.mkdir(exist_ok=True)
        hidden.rename(path)
    assert check(forger, 4).good


def test_a_damaged_list_of_runs_costs_its_file_only(forger: Forger, tmp_path: Path) -> None:
    forger.tree([((), [file(b"a", b"alpha"), file(b"long", b"x" * 100_000, as_list=True), file(b"z", b"zulu")])])
    lost = []
    for name in [name for name, _ in FileStore(str(tmp_path / "location")).list("v/") if name.split("/")[2] == "x"]:
        path = tmp_path / "location" / name
        path.rename(tmp_path / "hidden")
        lost += [affected.paths for affected in check(forger, 1).affected]
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "hidden").rename(path)
    assert lost.count(["long"]) == 1


def test_all_slices_of_v2_together_read_every_object(forger: Forger, tmp_path: Path) -> None:
    forger.tree(TREE)
    flipped(tmp_path / "location" / forger.packs[0])
    found = [not check(forger, 2, day=day).good for day in range(PERIOD // DAY)]
    assert found.count(True) == 1
    assert sum(check(forger, 2, day=day).bytes_read > 0 for day in range(PERIOD // DAY)) > 1


def test_v2_looks_for_every_object_each_day(forger: Forger, tmp_path: Path) -> None:
    forger.tree(TREE)
    gone(tmp_path / "location" / forger.packs[0])
    assert not any(check(forger, 2, day=day).good for day in range(PERIOD // DAY))


def test_genuine_bytes_with_a_wrong_id_are_found_by_v4_only(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer with valid keys lies about a block's id: every digest and signature is right."""
    real = Forger._id

    def lie(self: Forger, kind: BlockKind, data: bytes) -> bytes:
        return real(self, kind, b"other" if data == b"gamma" else data)

    monkeypatch.setattr(Forger, "_id", lie)
    point = forger.tree(TREE)
    assert check(forger, 3).good
    findings = check(forger, 4)
    assert [(affected.point, affected.paths) for affected in findings.affected] == [(point, ["d/c"])]
    assert len(findings.damages) == 1


@pytest.mark.parametrize("totals", [Totals(3, 1, 2_400_010), Totals(5, 1, 2_400_010), Totals(4, 1, 2_400_009), Totals(4, 0, 2_400_010)])
def test_a_tree_that_is_not_what_its_manifest_counts_is_found_by_v4(forger: Forger, totals: Totals) -> None:
    forger.tree(TREE)
    assert check(forger, 4).good
    wrong = forger.tree(TREE, totals=totals)
    findings = check(forger, 4)
    assert [affected.point for affected in findings.affected] == [wrong]
    assert "manifest" in findings.affected[0].whole


def test_a_run_that_leaves_its_block_is_found_by_v4(forger: Forger) -> None:
    point = forger.tree([((), [file(b"a", b"aaaa"), file(b"b", b"bbbb", runs=((0, 4, 0, 2, bytes(32)),))])])
    assert [(affected.point, affected.paths) for affected in check(forger, 4).affected] == [(point, ["b"])]


def test_the_result_is_recorded_and_shown(forger: Forger, tmp_path: Path) -> None:
    forger.tree(TREE)
    broken = forger.packs[-1]
    good = forger.tree([((), [file(b"fine", b"fine")])])
    gone(tmp_path / "location" / broken)
    findings = check(forger, 3, record=True)
    assert findings.recorded == "recorded in the log: 1 points good, 1 objects damaged"
    state = forger.unlocked.log.follow()
    assert {point.id: point.verified_level for point in points_of(state, forger.unlocked.reader)}[good] == 3
    assert [point.verified_level for point in points_of(state, forger.unlocked.reader) if point.id != good] == [None]
    assert {ref.digest.hex() for ref in state.damaged} == {broken.rpartition("/")[2]}
    entries = state.next_seq
    check(forger, 3, record=True)
    assert forger.unlocked.log.follow().next_seq == entries + 2  # ATTEST and EVIDENCE; what is known to be damaged is not said twice


def test_without_the_right_to_write_the_findings_are_the_same(forger: Forger, monkeypatch: pytest.MonkeyPatch) -> None:
    forger.tree(TREE)

    def refuse(_self: FileStore, name: str, _data: bytes) -> bool:
        raise Denied(f"{name}: read only")

    monkeypatch.setattr(FileStore, "create", refuse)
    findings = check(forger, 4, record=True)
    assert findings.good
    assert findings.recorded.startswith("not recorded in the log: ")


@pytest.mark.parametrize("what", ["keyring", "descriptor"])
@pytest.mark.parametrize("harm", [gone, flipped])
def test_v0_finds_damage_to_what_the_log_names(forger: Forger, tmp_path: Path, what: str, harm: Callable[[Path], None]) -> None:
    forger.tree(TREE)
    assert check(forger, 0).good
    [path] = (tmp_path / "location").glob(f"v/*/{what}/*")
    harm(path)
    findings = check(forger, 0)
    assert not findings.good
    assert what in findings.log[0]


def test_v0_finds_that_an_entry_was_taken_away(forger: Forger, tmp_path: Path) -> None:
    for _ in range(3):
        forger.tree(TREE)
    assert check(forger, 0).good
    gone(sorted((tmp_path / "location").glob("v/*/log/*"))[3])
    forger.unlocked.log.state.__init__(forger.unlocked.identity.vault_id, forger.unlocked.identity.root_public)  # type: ignore[misc]
    findings = check(forger, 1)
    assert not findings.good
    assert findings.log[0].startswith("LogGap: entry 3 is missing though 3 later ones are there")


def test_v0_finds_a_damaged_log_entry(forger: Forger, tmp_path: Path) -> None:
    forger.tree(TREE)
    entries = sorted((tmp_path / "location").glob("v/*/log/*"))
    flipped(entries[1])
    forger.unlocked.log.state.__init__(forger.unlocked.identity.vault_id, forger.unlocked.identity.root_public)  # type: ignore[misc]
    findings = check(forger, 0)
    assert any(text.startswith("LogDamaged: entry 1 ") for text in findings.log)
