"""Building programs and images once: keyed by content, safe beside other runs, clear when something is missing."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cluster import images, kubeconfigs, once, places, processes, programs, record, system
from tests.cluster.trouble import Trouble

FAKE_GO = """\
#!/bin/sh
# Stands in for Go: counts builds, takes a moment, makes the program or fails.
case "$1" in
env) echo "${FAKE_GO_VERSION:-go1.26.3}"; exit ;;
build) ;;
*) exit 9 ;;
esac
echo built >> "$FAKE_GO_COUNT"
for argument do [ "$previous" = -o ] && out=$argument; previous=$argument; done
[ -z "$FAKE_GO_FAILS" ] || { echo "main.go:1: it does not compile" >&2; exit 1; }
sleep 0.3
echo program > "${out}tool"
"""


@pytest.fixture
def one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a single program set `tool`, with a Go that only pretends. Returns the file that counts builds."""
    for folder in ("bin", "sets/tool"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin" / "go").write_text(FAKE_GO)
    (tmp_path / "bin" / "go").chmod(0o755)
    (tmp_path / "sets/tool/go.mod").write_text("module x\n\ntool example.com/tool\n")
    (tmp_path / "sets/tool/go.sum").write_text("")
    monkeypatch.setenv("RECOUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GO_COUNT", str(tmp_path / "count"))
    monkeypatch.setattr(places, "GO_MODULES", tmp_path / "sets")
    monkeypatch.setattr(programs, "SETS", {"tool": programs.ProgramSet("a test", "1 s")})
    return tmp_path / "count"


def builds(count: Path) -> int:
    return len(count.read_text().splitlines()) if count.exists() else 0


def test_a_set_is_built_once_and_again_when_its_modules_change(one_set: Path) -> None:
    first = programs.program("tool")
    assert first.read_text() == "program\n"
    assert programs.program("tool") == first
    assert builds(one_set) == 1
    (places.GO_MODULES / "tool" / "go.sum").write_text("another version\n")
    assert programs.program("tool") != first
    assert builds(one_set) == 2


def test_two_runs_at_once_build_once(one_set: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(programs.build("tool"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 3
    assert builds(one_set) == 1


def test_a_failed_build_says_why_and_leaves_nothing_that_looks_built(one_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "1")
    with pytest.raises(Trouble, match="it does not compile"):
        programs.build("tool")
    assert [path.name for path in programs.installed_path("tool").parent.iterdir() if path.is_dir()] == []
    monkeypatch.delenv("FAKE_GO_FAILS")
    assert (programs.build("tool") / "bin" / "tool").exists()


@pytest.mark.parametrize(("version", "complaint"), [("go1.21.5", "found go1.21.5"), ("", "none found")])
def test_an_old_or_missing_go_is_named(one_set: Path, monkeypatch: pytest.MonkeyPatch, version: str, complaint: str) -> None:
    monkeypatch.setenv("FAKE_GO_VERSION", version)
    if not version:
        monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Trouble, match=complaint) as raised:
        programs.build("tool")
    assert "install" in str(raised.value)


def test_every_set_names_its_programs_and_no_name_is_there_twice() -> None:
    names = [name for set_name in programs.SETS for name in programs.programs_of(set_name)]
    assert len(names) == len(set(names))
    assert {"kube-apiserver", "kubelet", "kubectl", "etcd", "csi-provisioner", "snapshot-controller", "minio", "versitygw", "helm"} <= set(
        names
    )
    folders = {path.name for path in places.GO_MODULES.iterdir() if path.is_dir()}
    assert folders == set(programs.SETS), "every folder is a set and every set has a folder"


def test_an_unknown_program_lists_what_there_is() -> None:
    with pytest.raises(Trouble, match="programs list"):
        programs.program("nonesuch")
    with pytest.raises(Trouble, match="localhost/recoup:dev"):
        images.archive("localhost/nonesuch:1")


def test_the_last_used_versions_stay_for_runs_beside_this_one(tmp_path: Path) -> None:
    made = []
    for number in range(once.KEPT + 2):
        path = once.made_once(tmp_path, "thing", f"{number:012d}", lambda out: out.touch())
        os.utime(path, (number, number))
        made.append(path)
    assert [path for path in made if path.exists()] == made[-once.KEPT :]


def test_what_a_killed_run_left_half_made_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".thing-abandoned"
    left.mkdir()
    once.made_once(tmp_path, "thing", "0" * 12, lambda out: out.touch())
    assert not left.exists()


def test_missing_packages_are_named_when_they_cannot_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PACKAGES", {"no-such-program": "debian-package-a", "/no/such/file": "debian-package-b"})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Trouble, match="debian-package-a, debian-package-b"):
        system.check()
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(Trouble, match="no apt-get"):
        system.check()


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "../x", "x" * 31])
def test_names_that_cannot_be_are_refused(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.kind", "create", "cluster", f"--name={name}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "not usable" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_record_is_stale_when_its_maker_or_owner_is_gone() -> None:
    me = (os.getpid(), processes.started_at(os.getpid()) or 0)
    gone, reused = (2**22 + 1, 1), (me[0], me[1] - 1)
    table = {
        (True, me, None): False,  # made by hand: stays
        (True, gone, None): False,
        (True, gone, me): False,
        (True, me, gone): True,
        (True, me, reused): True,  # the owner's number belongs to another process by now
        (False, me, None): False,  # being made
        (False, gone, me): True,  # its maker crashed
    }
    for (ready, maker, owner), stale in table.items():
        assert record.Record("x", 1, ready, maker, owner).is_stale() is stale, (ready, maker, owner)


@pytest.mark.cluster
def test_a_kubeconfig_with_other_clusters_keeps_them(tmp_path: Path) -> None:
    own, target = tmp_path / "own", tmp_path / "target"
    for path, name in ((own, "kind-new"), (target, "kind-old")):
        path.write_text(
            f'{{"apiVersion":"v1","kind":"Config","current-context":"{name}","clusters":[{{"name":"{name}","cluster":{{"server":"https://{name}"}}}}],'
            f'"users":[{{"name":"{name}","user":{{"token":"t"}}}}],"contexts":[{{"name":"{name}","context":{{"cluster":"{name}","user":"{name}"}}}}]}}'
        )
    kubeconfigs.merge(own, target)
    assert "current-context: kind-new" in target.read_text()
    assert "kind-old" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600
    kubeconfigs.clean("new", target)
    assert "kind-new" not in target.read_text()
    assert "https://kind-old" in target.read_text()
