"""The driver's process: `python -m tests.cluster.csi.driver --help`. One pool, and one or two drivers on it by name.

Needs root, the generated stubs on PYTHONPATH (stubs.py) and the node's mount namespace; launch.py starts it so.
"""

import argparse
import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import csi_pb2_grpc  # type: ignore[import-not-found]  # generated, see stubs.py
import grpc
import registration_pb2_grpc  # type: ignore[import-not-found]

from tests.cluster.csi.controller import Controller
from tests.cluster.csi.identity import Identity
from tests.cluster.csi.node import Node
from tests.cluster.csi.pool import Pool
from tests.cluster.csi.registration import Registration
from tests.cluster.csi.volumes import Volumes

THREADS = 8
STOP_SECONDS = 5


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    pool = Pool(options.state)
    pool.open()
    servers = [_serve(pool, options, options.name, snapshots=True)]
    if options.without_snapshots:
        servers.append(_serve(pool, options, options.without_snapshots, snapshots=False))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger("csi").info("serving from %s", options.state)
    stop.wait()
    for server in servers:
        server.stop(STOP_SECONDS).wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A CSI driver for tests, on btrfs.")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR", help="the pool's image, its mount point and the sockets")
    parser.add_argument("--name", required=True, help="name of the driver")
    parser.add_argument("--without-snapshots", metavar="NAME", help="serve a second driver of this name that can't snapshot or clone")
    parser.add_argument("--node", required=True, help="name of the Kubernetes node")
    parser.add_argument("--zones", required=True, type=lambda text: tuple(text.split(",")), help="comma-separated; the first is the node's")
    parser.add_argument("--registry", type=Path, metavar="DIR", help="the kubelet's plugins_registry; without it nothing is registered")
    return parser


def _serve(pool: Pool, options: argparse.Namespace, driver: str, *, snapshots: bool) -> grpc.Server:
    volumes = Volumes(pool.root / driver)
    server = grpc.server(ThreadPoolExecutor(THREADS))
    csi_pb2_grpc.add_IdentityServicer_to_server(Identity(driver), server)
    csi_pb2_grpc.add_ControllerServicer_to_server(Controller(pool, volumes, options.zones, snapshots=snapshots), server)
    csi_pb2_grpc.add_NodeServicer_to_server(Node(volumes, options.node, options.zones[0]), server)
    endpoint = options.state / f"{driver}.sock"
    _listen(server, endpoint)
    if options.registry:
        registration_pb2_grpc.add_RegistrationServicer_to_server(Registration(driver, endpoint), server)
        options.registry.mkdir(parents=True, exist_ok=True)
        _listen(server, options.registry / f"{driver}-reg.sock")
    server.start()
    return server


def _listen(server: grpc.Server, path: Path) -> None:
    path.unlink(missing_ok=True)  # of an earlier process: it could not be bound again
    server.add_insecure_port(f"unix:{path}")


if __name__ == "__main__":
    main()
