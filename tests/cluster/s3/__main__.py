"""Start and stop S3 servers by hand: `python -m tests.cluster.s3 --help`. They run on until stopped."""

import argparse
import json
import sys
from pathlib import Path

from tests.cluster.s3 import slots
from tests.cluster.s3.buckets import create_bucket
from tests.cluster.s3.servers import S3Server, start
from tests.cluster.trouble import Trouble


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    record = options.state / f"s3-{options.name}.json"
    if options.command == "start":
        print(_start(options, record))
    elif options.command == "stop":
        _stop(record)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.s3",
        description="S3 servers for tests and the demo, each in a network of its own that local clusters reach.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starter = commands.add_parser("start", help="start a server (or find it running) and print its endpoint and files as JSON")
    starter.add_argument("provider", choices=["minio", "versitygw"])
    starter.add_argument("--loopback", action="store_true", help="listen on 127.0.0.1 instead; needs no root, clusters can't reach it")
    starter.add_argument("--tls", action="store_true", help="serve https with an authority of its own; its certificate is in caFile")
    starter.add_argument("--bucket", action="append", default=[], metavar="NAME", help="make this bucket; may be repeated")
    stopper = commands.add_parser("stop", help="stop a server and remove all its data; nothing to do when there is none")
    for command in (starter, stopper):
        command.add_argument("--name", required=True, help="your name for the server")
        command.add_argument("--state", required=True, type=Path, metavar="DIR", help="where its s3-NAME.json is kept")
    return parser


def _start(options: argparse.Namespace, record: Path) -> str:
    running = _running(record)
    if running:
        return running
    server = start(options.provider, networked=not options.loopback, secure=options.tls, detached=True)
    try:
        for name in options.bucket:
            create_bucket(server, name)
        text = json.dumps(_described(server), indent=2)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(text + "\n")
    except BaseException:
        server.stop()
        raise
    return text


def _described(server: S3Server) -> dict[str, object]:
    return {
        "provider": server.provider,
        "endpoint": server.endpoint,
        "region": server.region,
        "credentialsFile": str(server.credentials_file),
        "caFile": str(server.ca_file) if server.ca_file else None,
        "log": str(server.log),
        "folder": str(server.slot.folder),
    }


def _running(record: Path) -> str | None:
    if record.exists():
        text = record.read_text().strip()
        if slots.processes(Path(json.loads(text)["folder"])):
            return text
    return None


def _stop(record: Path) -> None:
    if record.exists():
        slots.clean(Path(json.loads(record.read_text())["folder"]))
        record.unlink()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
