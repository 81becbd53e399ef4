"""Addresses and wires of one cluster: number S gives node 10.99.S.2 (host 10.99.S.1), pods 10.98.S.0/24, services 10.97.S.0/24.

The host routes all three, so clusters, S3 servers and the host reach each other without NAT. Forwarding is switched on
for our own links only. Which S is free is decided in record.py, under its lock.
"""

import ipaddress
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.trouble import Trouble

NUMBERS = range(1, 251)


@dataclass(frozen=True)
class Addresses:
    """Everything that follows from a cluster's number."""

    number: int

    @property
    def link(self) -> str:
        """The host's end of the wire."""
        return f"recoup-c{self.number}"

    @property
    def host(self) -> str:
        return f"10.99.{self.number}.1"

    @property
    def node(self) -> str:
        return f"10.99.{self.number}.2"

    @property
    def pods(self) -> str:
        return f"10.98.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"10.97.{self.number}.0/24"

    @property
    def api_service(self) -> str:
        return f"10.97.{self.number}.1"

    @property
    def dns_service(self) -> str:
        return f"10.97.{self.number}.10"

    @property
    def server(self) -> str:
        return f"https://{self.node}:6443"


def connect(addresses: Addresses, holder: int) -> None:
    """Wire the network namespace of process `holder` to the host, with addresses and routes on both sides."""
    inside = ["nsenter", "--target", str(holder), "--net", "ip"]
    ip("link", "add", addresses.link, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
    ip("address", "add", f"{addresses.host}/24", "dev", addresses.link)
    ip("link", "set", addresses.link, "up")
    Path(f"/proc/sys/net/ipv4/conf/{addresses.link}/forwarding").write_text("1\n")
    _run([*inside, "address", "add", f"{addresses.node}/24", "dev", "eth0"])
    _run([*inside, "link", "set", "eth0", "up"])
    _run([*inside, "link", "set", "lo", "up"])
    _run([*inside, "route", "add", "default", "via", addresses.host])
    for network in (addresses.pods, addresses.services):
        ip("route", "add", network, "via", addresses.node)


def disconnect(addresses: Addresses) -> None:
    """Take the wire away; its routes go with it. Idempotent; the kernel may be doing the same, the other end being gone."""
    link = Path("/sys/class/net", addresses.link)
    try:
        if link.exists():
            ip("link", "delete", addresses.link)
    except Trouble:
        if link.exists():
            raise


def is_free(addresses: Addresses) -> bool:
    """Whether nothing on this machine uses the number's networks already."""
    wanted = [ipaddress.ip_network(text) for text in (addresses.pods, addresses.services, f"{addresses.host}/32")]
    routes = [route["dst"] for route in json.loads(ip("-j", "-4", "route", "show", "table", "all"))]
    used = [ipaddress.ip_network(text, strict=False) for text in routes if text != "default"]
    return not any(network.overlaps(other) for network in wanted for other in used)


def ip(*arguments: str) -> str:
    return _run(["ip", *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"{' '.join(command)}: {done.stderr.strip()}", step="python -m tests.cluster.system names what this machine lacks")
    return done.stdout
