"""`recoup backup` as a process: what it prints, its exit codes, its report, its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recoup.engine.keys.tickets import session_id
from recoup.engine.log.points import open_point
from tests.unit.engine.backup.volume import Volume, fill

RECOUP = [sys.executable, "-m", "recoup.cli.main"]


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume.make(tmp_path)
    fill(volume.source, files=60)
    (tmp_path / "keys").mkdir()
    volume.vault.writer.save(tmp_path / "keys")
    return volume


def command(volume: Volume, *more: str) -> list[str]:
    keys = str(volume.source.parent / "keys")
    return [*RECOUP, "backup", "--location", volume.store.url, "--writer-keys", keys, "--source", str(volume.source), *more]


def run(volume: Volume, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(volume, *more), capture_output=True, text=True, check=False, timeout=120)


def test_it_prints_the_id_alone(volume: Volume) -> None:
    done = run(volume)
    assert done.returncode == 0, done.stderr
    assert [manifest.hex() for manifest in volume.vault.log.follow().commits] == [done.stdout.strip()]
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines[-1]["progress"]["bytesDone"] == sum(p.stat().st_size for p in volume.source.rglob("*") if p.is_file())


def test_json_and_report(volume: Volume, tmp_path: Path) -> None:
    done = run(volume, "-o", "json", "--report", str(tmp_path / "report"))
    shown, report = json.loads(done.stdout), json.loads((tmp_path / "report").read_bytes())
    assert shown["errors"] == []
    assert shown["filesTotal"] == 62
    assert (report["outcome"], report["id"], report["bytesStored"]) == ("Succeeded", shown["id"], shown["bytesStored"])
    assert report["filesTotal"] == shown["filesTotal"]


def test_files_that_cannot_be_read_are_exit_code_3(volume: Volume, tmp_path: Path) -> None:
    """As a root that has lost the capabilities by which it reads everything."""
    (volume.source / "secret").write_text("x")
    (volume.source / "secret").chmod(0)
    (volume.source / "closed").mkdir(mode=0)
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    more = ("-o", "json", "--report", str(tmp_path / "report"))
    done = subprocess.run([*mortal, *command(volume, *more)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3, done.stderr
    errors = {(error["path"], error["reason"]) for error in json.loads(done.stdout)["errors"]}
    assert errors == {("secret", "Unreadable"), ("closed", "Unreadable")}
    report = json.loads((tmp_path / "report").read_bytes())
    assert (report["outcome"], report["errors"], set(report["firstPaths"])) == ("Partial", 2, {"closed", "secret"})


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--source", "/does/not/exist"], 20, "does not exist"),
        (["--exclude", "[b-a]"], 20, "not well-formed"),
        (["--run", "/does/not/exist"], 20, "run file"),
        (["--vault", "00" * 16], 2, "writer-keys are those of vault"),
    ],
)
def test_bad_input_makes_nothing(volume: Volume, more: list[str], code: int, words: str) -> None:
    before = volume.stored()
    done = run(volume, *more)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stdout == ""
    assert volume.stored() == before


def test_a_run_file_with_an_unknown_shape(volume: Volume, tmp_path: Path) -> None:
    for text in ("{}", '{"session":"xyz"}', '{"session":"00"}', "not json", '{"session":"' + "00" * 16 + '","slot":5}'):
        (tmp_path / "run").write_text(text)
        done = run(volume, "--run", str(tmp_path / "run"))
        assert (done.returncode, "InvalidRunFile" in done.stderr) == (20, True), done.stderr


def test_a_run_of_a_policy_and_its_second_attempt(volume: Volume, tmp_path: Path) -> None:
    """The point carries what the run file says; a second attempt of a session that was committed finds its point."""
    from recoup.engine.catalogue import sign_ticket

    session = session_id("snapshot-uid", "pvc-uid")
    ticket = sign_ticket(volume.vault.catalogue, "policy-uid", "2026-01-01T00:00:00Z", "pvc-uid", session)
    source = {"namespace": "shop", "persistentVolumeClaim": "data", "persistentVolumeClaimUid": "pvc-uid", "nodeAffinity": {"required": {}}}
    about = {
        "policyUid": "policy-uid",
        "policy": "daily",
        "slot": "2026-01-01T00:00:00Z",
        "snapshotUid": "snapshot-uid",
        "snapshot": "daily-1",
    }
    document = {"session": session.hex(), "ticket": ticket, **about, "volumesExpected": ["pvc-uid"], "consistency": "CrashConsistent"}
    (tmp_path / "run").write_text(json.dumps({**document, "source": source}))
    first, second = (run(volume, "--run", str(tmp_path / "run")) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stdout == second.stdout
    assert "earlier attempt" in second.stderr
    (commit,) = volume.vault.log.follow().commits.values()
    record = open_point(volume.vault.writer.meta_key, volume.vault.identity, commit.generation, session, commit.body.record)
    assert (record.point, record.snapshot, record.policy, record.volumes_expected) == ("snapshot-uid", "daily-1", "daily", ("pvc-uid",))
    manifest = volume.open(first.stdout.strip()).manifest
    assert (manifest.source.namespace, manifest.run.slot, manifest.consistency) == ("shop", "2026-01-01T00:00:00Z", "CrashConsistent")
    assert bytes(manifest.source.node_affinity)


def test_the_next_run_of_the_same_claim_builds_on_the_last(volume: Volume, tmp_path: Path) -> None:
    from recoup.engine.catalogue import sign_ticket

    stored = []
    for number in range(2):
        session = session_id(f"snapshot-{number}", "pvc-uid")
        ticket = sign_ticket(volume.vault.catalogue, "policy-uid", f"slot-{number}", "pvc-uid", session)
        source = {"persistentVolumeClaimUid": "pvc-uid"}
        (tmp_path / "run").write_text(
            json.dumps({"session": session.hex(), "ticket": ticket, "snapshotUid": f"snapshot-{number}", "source": source})
        )
        done = run(volume, "--run", str(tmp_path / "run"), "-o", "json")
        stored.append(json.loads(done.stdout))
    assert stored[0]["notes"] == ["there is no earlier recovery point of this volume"]
    assert stored[1]["notes"] == []
    assert stored[1]["bytesStored"] < stored[0]["bytesStored"] // 20


def test_sigterm_ends_it_cleanly(volume: Volume, tmp_path: Path) -> None:
    (volume.source / "endless").touch()
    os.truncate(volume.source / "endless", 1 << 40)
    with (volume.source / "endless").open("r+b") as file:
        for number in range(2000):
            file.seek(number << 24)
            file.write(os.urandom(4096))
    report = tmp_path / "report"
    process = subprocess.Popen(command(volume, "--report", str(report)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "progress" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert json.loads(report.read_bytes())["outcome"] == "Cancelled"
    assert not volume.vault.log.follow().commits
