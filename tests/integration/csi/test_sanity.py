"""The driver passes csi-sanity, the conformance test of the CSI project, for both of its names and both kinds of volume."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cluster.csi.launch import DRIVER, DRIVER_WITHOUT_SNAPSHOTS, socket_of
from tests.cluster.programs import program
from tests.integration.csi.driver_process import DriverProcess

NEVER_OFFERED = {
    "ControllerPublishVolume not supported",
    "ControllerUnpublishVolume not supported",
    "Controller Publish, UnpublishVolume not supported",
    "NodeStageVolume not supported",
    "NodeUnstageVolume not supported",
    "NodeExpandVolume not supported",
    "Modify volume not supported",
    "Modify Volume not supported",
    "ControllerModifyVolume not supported",
    "GroupControllerService not supported",
}
"""Volumes need no attaching, no staging, no help of the node to grow; they have no mutable attributes and no groups."""
NO_SNAPSHOTS = {
    "Snapshot not supported",
    "CreateSnapshot not supported",
    "DeleteSnapshot not supported",
    "ListSnapshots not supported",
    "Volume Cloning not supported",
}
MAY_SKIP = {DRIVER: NEVER_OFFERED, DRIVER_WITHOUT_SNAPSHOTS: NEVER_OFFERED | NO_SNAPSHOTS}
MUST_PASS = {DRIVER: 58, DRIVER_WITHOUT_SNAPSHOTS: 39}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["mount", "block"])
@pytest.mark.parametrize("name", [DRIVER, DRIVER_WITHOUT_SNAPSHOTS])
def test_csi_sanity(driver: DriverProcess, tmp_path: Path, name: str, kind: str) -> None:
    report = tmp_path / "report.xml"
    command = [
        str(program("csi-sanity")),
        f"--csi.endpoint={socket_of(driver.state, name)}",
        f"--csi.mountdir={tmp_path}/target",
        f"--csi.stagingdir={tmp_path}/staging",
        f"--csi.testvolumeaccesstype={kind}",
        "--csi.testvolumesize=67108864",
        "--csi.testvolumeexpandsize=134217728",
        f"--ginkgo.junit-report={report}",
    ]
    done = subprocess.run(driver.inside(*command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + driver.log.read_text()[-3000:]
    cases = list(ET.parse(report).iter("testcase"))
    skips = [case.find("skipped") for case in cases if case.get("status") == "skipped"]  # "pending": csi-sanity's own switched-off ones
    assert {(skip.get("message") or "").removeprefix("skipped - ") for skip in skips if skip is not None} == MAY_SKIP[name]
    assert len([case for case in cases if case.get("status") == "passed"]) >= MUST_PASS[name]
