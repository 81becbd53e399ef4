"""What this machine must have: Debian packages, root, Python, Go. Installs the packages by apt-get where that is possible.

`python -m tests.cluster.system` checks and installs; without root or apt it says what to install, by package name.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.programs import check_go
from tests.cluster.trouble import Trouble

PYTHON_NEEDED = (3, 11)

PACKAGES: dict[str, str] = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "tc": "iproute2",
    "conntrack": "conntrack",
    "btrfs": "btrfs-progs",
    "losetup": "mount",
    "nsenter": "util-linux",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "rsync": "rsync",
    "getfacl": "acl",
    "getfattr": "attr",
    "getcap": "libcap2-bin",
}
"""A program on PATH or a file, and the Debian package that has it."""


def missing_packages() -> list[str]:
    """The Debian packages to install, by name."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return sorted({package for need, package in PACKAGES.items() if not _present(need, search)})


def check() -> None:
    """Raise Trouble naming everything this machine lacks; install missing packages when root and apt-get are there."""
    if sys.version_info < PYTHON_NEEDED:
        raise Trouble(
            f"Python {'.'.join(map(str, PYTHON_NEEDED))} or newer is needed; this is {sys.version.split()[0]}",
            step="apt-get install python3",
        )
    if sys.platform != "linux":
        raise Trouble("the local cluster needs Linux namespaces", step="use a Linux machine, or kind with Docker (KIND_BIN)")
    missing = missing_packages()
    if missing:
        _install(missing)
    if os.geteuid() != 0:
        raise Trouble(
            "the local cluster needs root (namespaces, mounts, cgroups); this user is not", step="run it as root: sudo -E make test"
        )


def _present(need: str, search: str) -> bool:
    return Path(need).exists() if need.startswith("/") else shutil.which(need, path=search) is not None


def _install(packages: list[str]) -> None:
    command = "apt-get install --no-install-recommends " + " ".join(packages)
    if not shutil.which("apt-get"):
        raise Trouble(
            f"missing: {', '.join(packages)} (Debian's names), and there is no apt-get here",
            step="install them with this system's package program",
        )
    if os.geteuid() != 0:
        raise Trouble(f"missing: {', '.join(packages)}", step=f"as root: {command}")
    print(f"installing Debian packages: {' '.join(packages)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    wait = ["-o", "DPkg::Lock::Timeout=300"]
    install = ["apt-get", *wait, "install", "-y", "-q", "--no-install-recommends", *packages]
    done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:  # package lists may be missing or old: fetch them once
        subprocess.run(["apt-get", *wait, "update", "-q"], capture_output=True, check=False, env=environment)
        done = subprocess.run(install, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise Trouble(f"apt-get could not install {', '.join(packages)}:\n{tail}", step=command)


def main() -> int:
    check()
    check_go()
    print("this machine has what the local cluster needs")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
