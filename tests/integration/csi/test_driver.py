"""What backups and restores need of the driver beyond conformance: true points in time, sizes, crashes, leaving nothing."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.cluster import loops
from tests.cluster.csi.launch import DRIVER_WITHOUT_SNAPSHOTS
from tests.integration.csi.calls import MIB, Calls
from tests.integration.csi.driver_process import DriverProcess

Code = grpc.StatusCode


@pytest.fixture
def calls(driver: DriverProcess) -> Iterator[Calls]:
    made = Calls(driver)
    yield made
    made.close()


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def write(driver: DriverProcess, path: Path, text: str) -> None:
    driver.run("sh", "-c", f"echo '{text}' > {path}")


WRITER = """
import os, sys
a, b = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("a", "b"))
while not os.path.exists("stop"):
    for each in (a, b):
        os.write(each, b"line\\n")
        os.fsync(each)
"""


def test_a_snapshot_is_one_instant_though_writes_go_on(driver: DriverProcess, calls: Calls, tmp_path: Path) -> None:
    """A writer appends a line to one file, then to the other, each synced: no snapshot has the second without the first."""
    volume = calls.create("live").volume_id
    target = calls.publish(volume, tmp_path / "live")
    writer = subprocess.Popen(driver.inside("sh", "-c", f"cd {target} && exec {sys.executable} -c '{WRITER}'"))
    lines: list[int] = []
    for number in range(5):
        while int(driver.run("sh", "-c", f"cat {target}/a 2>/dev/null | wc -l")) <= max(lines, default=0):
            assert writer.poll() is None
        snapshot = calls.snapshot(f"live-{number}", volume)
        assert snapshot.ready_to_use
        copy = calls.create(f"live-copy-{number}", snapshot=snapshot.snapshot_id).volume_id
        place = calls.publish(copy, tmp_path / f"copy-{number}", read_only=True)
        counts = [int(driver.run("sh", "-c", f"wc -l < {place}/{name}")) for name in "ab"]
        assert counts[0] - counts[1] in (0, 1)
        lines.append(counts[0])
        calls.unpublish(copy, place)
    write(driver, target / "stop", "")
    writer.wait()
    assert lines == sorted(set(lines))
    calls.unpublish(volume, target)


def test_copies_have_the_content_and_lead_their_own_lives(driver: DriverProcess, calls: Calls, tmp_path: Path) -> None:
    volume = calls.create("origin").volume_id
    target = calls.publish(volume, tmp_path / "origin")
    write(driver, target / "file", "first")
    snapshot = calls.snapshot("origin-1", volume).snapshot_id
    write(driver, target / "file", "second")
    restored = calls.create("restored", snapshot=snapshot, size=128 * MIB)
    cloned = calls.create("cloned", volume=volume).volume_id
    assert restored.content_source.snapshot.snapshot_id == snapshot
    places = [calls.publish(restored.volume_id, tmp_path / "restored"), calls.publish(cloned, tmp_path / "cloned")]
    assert [driver.run("cat", f"{place}/file") for place in places] == ["first\n", "second\n"]
    write(driver, places[0] / "file", "third")
    calls.delete_snapshot(snapshot)
    assert driver.run("cat", f"{places[0]}/file") == "third\n"
    assert driver.run("cat", f"{target}/file") == "second\n"
    for each, place in ((volume, target), (restored.volume_id, places[0]), (cloned, places[1])):
        calls.unpublish(each, place)
        assert not place.exists()


def test_a_size_is_enforced_and_grows(driver: DriverProcess, calls: Calls, tmp_path: Path) -> None:
    volume = calls.create("small", size=16 * MIB).volume_id
    target = calls.publish(volume, tmp_path / "small")
    fill = driver.inside("dd", "if=/dev/urandom", f"of={target}/big", "bs=1M", "count=24", "conv=fsync")
    full = subprocess.run(fill, capture_output=True, text=True, check=False)
    assert full.returncode != 0
    assert "Disk quota exceeded" in full.stderr
    calls.expand(volume, 64 * MIB)
    assert subprocess.run(fill, capture_output=True, check=False).returncode == 0
    usage = calls.node.NodeGetVolumeStats(calls.csi.NodeGetVolumeStatsRequest(volume_id=volume, volume_path=str(target))).usage[0]
    assert usage.total == 64 * MIB
    assert usage.used >= 24 * MIB
    assert usage.used + usage.available == usage.total
    calls.unpublish(volume, target)


def test_a_restore_needs_the_size_of_its_source(calls: Calls) -> None:
    volume = calls.create("wide", size=64 * MIB).volume_id
    snapshot = calls.snapshot("wide-1", volume).snapshot_id
    code, message = refused(lambda: calls.create("narrow", size=32 * MIB, snapshot=snapshot))
    assert code == Code.OUT_OF_RANGE
    assert str(64 * MIB) in message
    assert refused(lambda: calls.create("other", kind="block", snapshot=snapshot))[0] == Code.INVALID_ARGUMENT


def test_a_block_volume_is_snapshotted_with_what_was_written_and_grows(driver: DriverProcess, calls: Calls, tmp_path: Path) -> None:
    volume = calls.create("disk", size=8 * MIB, kind="block").volume_id
    target = calls.publish(volume, tmp_path / "disk", kind="block")
    content = os.urandom(8 * MIB)
    subprocess.run(driver.inside("sh", "-c", f"cat > {target}"), input=content, check=True)
    snapshot = calls.snapshot("disk-1", volume).snapshot_id
    subprocess.run(driver.inside("dd", "if=/dev/zero", f"of={target}", "bs=1M", "count=8"), capture_output=True, check=True)
    copy = calls.create("disk-copy", size=8 * MIB, kind="block", snapshot=snapshot).volume_id
    place = calls.publish(copy, tmp_path / "disk-copy", kind="block")
    assert subprocess.run(driver.inside("cat", str(place)), capture_output=True, check=True).stdout == content
    assert calls.publish(copy, place, kind="block") == place
    calls.expand(copy, 16 * MIB)
    assert driver.run("blockdev", "--getsize64", str(place)) == f"{16 * MIB}\n"
    before = loops.backed_by(driver.state)
    calls.unpublish(volume, target)
    calls.unpublish(copy, place)
    assert len(loops.backed_by(driver.state)) == len(before) - 2
    calls.unpublish(copy, place)


def test_volumes_in_use_are_not_deleted(calls: Calls, tmp_path: Path) -> None:
    for kind in ("mount", "block"):
        volume = calls.create(f"used-{kind}", kind=kind).volume_id
        target = calls.publish(volume, tmp_path / kind, kind=kind)
        assert refused(lambda volume=volume: calls.delete(volume))[0] == Code.FAILED_PRECONDITION  # type: ignore[misc]
        calls.unpublish(volume, target)
        calls.delete(volume)
        assert volume not in calls.volumes()


def test_an_id_is_never_taken_for_a_path(calls: Calls) -> None:
    volume = calls.create("stays").volume_id
    for path in ("..", f"../volumes/{volume}", "/", "."):
        calls.delete(path)
        calls.delete_snapshot(path)
        assert refused(lambda path=path: calls.snapshot("path", path))[0] == Code.NOT_FOUND  # type: ignore[misc]
    assert volume in calls.volumes()


def test_zones_are_honoured(calls: Calls) -> None:
    def asking(preferred: list[str], requisite: list[str]) -> object:
        def terms(zones: list[str]) -> list[object]:
            return [calls.csi.Topology(segments={"topology.recoup.test/zone": zone}) for zone in zones]

        return calls.csi.TopologyRequirement(preferred=terms(preferred), requisite=terms(requisite))

    def zone_of(name: str, **more: Any) -> str:
        return str(calls.create(name, **more).accessible_topology[0].segments["topology.recoup.test/zone"])

    assert zone_of("anywhere") == "zone-a"
    assert zone_of("there", accessibility_requirements=asking(["zone-b", "zone-a"], ["zone-a", "zone-b"])) == "zone-b"
    assert zone_of("only", accessibility_requirements=asking([], ["zone-b"])) == "zone-b"
    nowhere = asking([], ["zone-x"])
    assert refused(lambda: calls.create("nowhere", accessibility_requirements=nowhere))[0] == Code.RESOURCE_EXHAUSTED


def test_a_snapshot_that_is_never_ready_and_parameters_unknown(calls: Calls) -> None:
    volume = calls.create("slow").volume_id
    assert not calls.snapshot("stuck", volume, ready="never").ready_to_use
    assert not calls.snapshot("stuck", volume, ready="never").ready_to_use
    assert refused(lambda: calls.snapshot("odd", volume, ready="later"))[0] == Code.INVALID_ARGUMENT
    assert refused(lambda: calls.create("odd", parameters={"size": "huge"}))[0] == Code.INVALID_ARGUMENT


def test_the_second_driver_can_not_snapshot_and_sees_only_its_own(driver: DriverProcess, calls: Calls) -> None:
    other = Calls(driver, DRIVER_WITHOUT_SNAPSHOTS)
    volume = other.create("plain").volume_id
    assert refused(lambda: other.snapshot("no", volume))[0] == Code.UNIMPLEMENTED
    assert other.volumes() == [volume]
    assert volume not in calls.volumes()
    other.close()


def test_a_killed_driver_finds_everything_again_and_sweeps_halves(driver: DriverProcess, tmp_path: Path) -> None:
    calls = Calls(driver)
    volume = calls.create("kept").volume_id
    disk = calls.create("kept-disk", kind="block").volume_id
    target = calls.publish(volume, tmp_path / "kept")
    disk_target = calls.publish(disk, tmp_path / "kept-disk", kind="block")
    write(driver, target / "file", "here")
    snapshot = calls.snapshot("kept-1", volume).snapshot_id
    known = (calls.volumes(), calls.snapshots())
    calls.close()
    driver.kill()
    root = f"{driver.state}/pool{driver.state}/pool/csi.recoup.test"
    driver.run("mkdir", f"{root}/volumes/vol-half")
    driver.run("btrfs", "subvolume", "create", f"{root}/volumes/vol-half/data")
    driver.run("mkdir", f"{root}/snapshots/snap-half")
    driver.start()
    calls = Calls(driver)
    assert (calls.volumes(), calls.snapshots()) == known
    assert "half" not in driver.run("ls", f"{root}/volumes", f"{root}/snapshots")
    assert calls.create("kept").volume_id == volume
    assert calls.snapshot("kept-1", volume).snapshot_id == snapshot
    assert driver.run("cat", f"{target}/file") == "here\n"
    calls.unpublish(volume, target)
    calls.unpublish(disk, disk_target)
    calls.delete(disk)
    calls.close()


def test_nothing_is_left_when_all_is_killed_with_devices_in_use(tmp_path: Path) -> None:
    """As when a cluster is killed: block volumes published, and held by devices of the kubelet on top of ours."""
    with DriverProcess(tmp_path) as driver:
        calls = Calls(driver)
        disk = calls.create("held", kind="block").volume_id
        target = calls.publish(disk, tmp_path / "held", kind="block")
        driver.run("losetup", "--find", str(target))
        calls.publish(calls.create("folder").volume_id, tmp_path / "folder")
        calls.close()
        held = loops.backed_by(driver.state)
        assert len(held) == 3
    assert not loops.backed_by(driver.state)
    assert not held & set(loops.attached())
