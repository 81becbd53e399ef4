"""A network of its own for one S3 server: namespace `recoup-s3-N`, server 10.96.N.2, host 10.96.N.1.

The host routes, so cluster nodes (10.99.S.0/24) and pods reach the server by its address, and it can be cut off like a
real one. Needs root and iproute2. Who owns which N is decided in slots.py.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.trouble import Trouble

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def namespace(number: int) -> str:
    return f"recoup-s3-{number}"


def host_link(number: int) -> str:
    """The host's end of the wire. At most 15 characters, the kernel's limit."""
    return f"rec-s3-{number}"


def server_address(number: int) -> str:
    return f"10.96.{number}.2"


def host_address(number: int) -> str:
    """The host as the server's network sees it: a proxy listening here is reachable from clusters as well."""
    return f"10.96.{number}.1"


def exists(number: int) -> bool:
    return Path("/run/netns", namespace(number)).exists() or Path("/sys/class/net", host_link(number)).exists()


def create(number: int) -> None:
    """Make the namespace, its wire to the host, addresses and routes. Raise Trouble if this user can't."""
    check()
    name, link = namespace(number), host_link(number)
    ip("netns", "add", name)
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("address", "add", f"{host_address(number)}/24", "dev", link)
    ip("link", "set", link, "up")
    ip("-n", name, "address", "add", f"{server_address(number)}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "link", "set", "eth0", "up")
    ip("-n", name, "route", "add", "default", "via", host_address(number))
    if FORWARDING.read_text().strip() != "1":
        FORWARDING.write_text("1\n")


def remove(number: int) -> None:
    """Take the namespace and its wire away. Idempotent."""
    if Path("/sys/class/net", host_link(number)).exists():
        ip("link", "delete", host_link(number))
    if Path("/run/netns", namespace(number)).exists():
        ip("netns", "delete", namespace(number))


def inside(number: int) -> list[str]:
    """The command prefix that runs a program in the namespace (as the same process: its pid is the program's)."""
    return ["nsenter", f"--net=/run/netns/{namespace(number)}"]


@contextmanager
def cut(number: int) -> Iterator[None]:
    """Nobody reaches the server: packets vanish, open connections hang, and both go on afterwards.

    The server's end goes down, not the host's: without its own end the host would lose the route and send the
    requests out of its default one, to strangers.
    """
    ip("-n", namespace(number), "link", "set", "eth0", "down")
    try:
        yield
    finally:
        ip("-n", namespace(number), "link", "set", "eth0", "up")
        ip("-n", namespace(number), "route", "replace", "default", "via", host_address(number))


@contextmanager
def slow_uploads(number: int, bits_per_second: int) -> Iterator[None]:
    """What goes to the server passes a line of this speed, with a queue of half a second before it."""
    link = host_link(number)
    run("tc", "qdisc", "add", "dev", link, "root", "tbf", "rate", f"{bits_per_second}bit", "burst", "32kb", "latency", "500ms")
    try:
        yield
    finally:
        run("tc", "qdisc", "delete", "dev", link, "root")


def ip(*arguments: str) -> str:
    return run("ip", *arguments)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def check() -> None:
    """Raise Trouble, naming what to install or do, unless networks can be made here."""
    if os.geteuid() != 0:
        raise Trouble("a network of its own needs root", step="run as root, or use a server on loopback (network=False)")
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if not shutil.which(program):
            raise Trouble(f"{program} is missing", step=f"apt-get install {package}")
