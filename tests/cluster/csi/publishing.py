"""Put volumes where the kubelet wants them, and take them away: bind mounts, and loop devices for block volumes.

Everything is asked of the kernel (mounts, devices), nothing is remembered: so it survives a restart of the driver.
"""

import os
from pathlib import Path

from tests.cluster.csi import devices
from tests.cluster.csi.commands import run


def publish_folder(source: Path, target: Path, flags: tuple[str, ...], *, read_only: bool) -> None:
    """Bind a folder; the flags of a bind mount (noexec, nosuid, …) apply to this mount alone. Idempotent."""
    target.mkdir(parents=True, exist_ok=True)
    if not target.is_mount():
        run("mount", "--bind", source, target)
    options = [*(["ro"] if read_only else []), *flags]
    if options:
        run("mount", "-o", ",".join(["remount", "bind", *options]), target)


def publish_device(file: Path, target: Path, *, read_only: bool) -> None:
    """Bind a loop device over the file. Idempotent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_mounted(target):
        return
    device = devices.attach(file, read_only=read_only)
    target.touch()
    run("mount", "--bind", device, target)


def unpublish(target: Path) -> None:
    """Take away what is mounted there, the device too if this was its last place, and the target itself. Idempotent."""
    device = devices.of_node(target) if target.exists() else None
    while is_mounted(target):
        run("umount", target)
    if device and not any(root == f"/{device.name}" for root, _ in mounts()):
        devices.detach(device)
    if target.is_dir():
        target.rmdir()
    else:
        target.unlink(missing_ok=True)


def is_mounted(target: Path) -> bool:
    """Whether something is mounted there: on a folder or on a file."""
    return any(point == str(target) for _, point in mounts())


def is_in_use(source: Path) -> bool:
    """Whether the folder, or a device over the file, is published anywhere in this mount namespace."""
    if source.is_dir():
        ending = "/" + "/".join(source.parts[-4:])  # driver/volumes/id/data: the path inside the pool ends so
        return any(root.endswith(ending) for root, _ in mounts())
    names = {f"/{device.name}" for device in devices.attached(source)}
    return any(root in names for root, _ in mounts())


def mounts() -> list[tuple[str, str]]:
    """Each mount of this namespace: its root inside its filesystem, and where it is mounted."""
    with open("/proc/self/mountinfo", "rb") as table:  # noqa: PTH123 - bytes, because paths are
        fields = [line.split() for line in table]
    return [(_plain(parts[3]), _plain(parts[4])) for parts in fields]


def _plain(escaped: bytes) -> str:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        escaped = escaped.replace(code, character)
    return os.fsdecode(escaped)
