"""The program that answers the calls of `kind`: those pytest-kind makes, and the same by hand.

Same words and flags as kind where both have them. A cluster here is processes in namespaces of this machine (node.py),
no container; it needs root. Everything is done by lifecycle.py; here are only arguments and kubeconfig files.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import images, kubeconfigs, lifecycle, processes
from tests.cluster.trouble import Trouble

ABOUT = """\
A real one-node Kubernetes (API server, kubelet, containerd, CSI storage with snapshots) as processes on this machine,
for tests and the demo; answers the calls of `kind`. No Docker, no registry: programs and images are built once into
a cache. Needs root.

  kind create cluster --name demo        up in about 15 s (the first time builds Kubernetes: 10 minutes)
  kind get clusters
  kind load docker-image localhost/recoup:dev --name demo
  kind log kubelet --name demo           the log file of one of its processes; without a name: which there are
  kind enter --name demo -- ip route     run something in the node's namespaces
  kind delete cluster --name demo
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.call(options) or 0)
    except Trouble as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was half made has been removed", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kind", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    create = _noun(verbs, "create", "cluster", "bring a cluster up and write its kubeconfig", _create)
    create.add_argument("--image", help="accepted for kind's sake and refused unless it names the one version there is")
    create.add_argument("--config", help="accepted for kind's sake; its contents are not supported and are refused if not empty")
    create.add_argument("--retain", action="store_true", help="keep what was half made when it fails, to look into its logs")
    _noun(verbs, "delete", "cluster", "remove a cluster with everything it had; no error if there is none", _delete)
    getter = verbs.add_parser("get", help="list clusters, or print a kubeconfig").add_subparsers(metavar="WHAT", required=True)
    getter.add_parser("clusters", help="the running clusters, one a line").set_defaults(call=_get_clusters)
    config = getter.add_parser("kubeconfig", help="print a cluster's kubeconfig")
    config.add_argument("--name", default="kind")
    config.set_defaults(call=_get_kubeconfig)
    loader = verbs.add_parser("load", help="load images into a cluster").add_subparsers(metavar="WHAT", required=True)
    for what, noun in (
        ("docker-image", f"an image built here ({', '.join(images.RECIPES)})"),
        ("image-archive", "an archive (docker or OCI)"),
    ):
        load = loader.add_parser(what, help=noun)
        load.add_argument("image", nargs="+")
        load.add_argument("--name", default="kind")
        load.set_defaults(call=_load, archives=what == "image-archive")
    log = verbs.add_parser("log", help="print the path of a process's log; without a process: list them all with their state")
    log.add_argument("process", nargs="?")
    log.add_argument("--name", default="kind")
    log.set_defaults(call=_log)
    enter = verbs.add_parser("enter", help="run a program in the node's namespaces (default: a shell)")
    enter.add_argument("--name", default="kind")
    enter.add_argument("command", nargs="*", metavar="-- PROGRAM", default=["/bin/sh"])
    enter.set_defaults(call=_enter)
    return parser


def _noun(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", verb: str, noun: str, about: str, call: object
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = (
        verbs.add_parser(verb, help=about).add_subparsers(metavar=noun, required=True).add_parser(noun, help=about)
    )
    parser.add_argument("--name", default="kind", help="up to 30 of a-z, 0-9, '-' (default: %(default)s)")
    parser.add_argument(
        "--kubeconfig", type=Path, help="the file to write to or clean (default: $KUBECONFIG, else a file of the cluster's own)"
    )
    parser.set_defaults(call=call)
    return parser


def _create(options: argparse.Namespace) -> None:
    from tests.cluster.programs import KUBERNETES_VERSION

    if options.image and not options.image.partition("@")[0].endswith(f":{KUBERNETES_VERSION}"):
        raise Trouble(f"--image {options.image}: only Kubernetes {KUBERNETES_VERSION} is built here", step="leave --image out")
    if options.config and Path(options.config).read_text().strip():
        raise Trouble(f"--config {options.config}: cluster configurations of kind are not supported here", step="leave --config out")
    node = lifecycle.create(options.name, retain=options.retain)
    own = node.kubeconfig()
    target = options.kubeconfig or kubeconfigs.default()
    if target:
        kubeconfigs.merge(own, target)
    print(f"cluster {options.name} is up; use it with:  export KUBECONFIG={(target or own).resolve()}", file=sys.stderr)


def _delete(options: argparse.Namespace) -> None:
    lifecycle.delete(options.name)
    target = options.kubeconfig or kubeconfigs.default()
    if target and target.exists():
        kubeconfigs.clean(options.name, target)
    print(f"cluster {options.name} is gone", file=sys.stderr)


def _get_clusters(options: argparse.Namespace) -> None:
    found = lifecycle.running()
    print("\n".join(found) if found else "", end="\n" if found else "")
    if not found:
        print("No kind clusters found.", file=sys.stderr)


def _get_kubeconfig(options: argparse.Namespace) -> None:
    print(lifecycle.find(options.name).kubeconfig().read_text())


def _load(options: argparse.Namespace) -> None:
    for image in options.image:
        archive = Path(image).resolve() if options.archives else images.archive(image)
        if not archive.exists():
            raise Trouble(f"no file {archive}")
        lifecycle.load_image(options.name, archive)


def _log(options: argparse.Namespace) -> None:
    node = lifecycle.find(options.name)
    if options.process:
        print(processes.load(node.folder, options.process).log)
        return
    for process in processes.every(node.folder):
        print(f"{process.name:26} {'running' if process.is_alive() else 'ENDED':8} pid {process.pid:<8} {process.log}")


def _enter(options: argparse.Namespace) -> int:
    node = lifecycle.find(options.name)
    return subprocess.run(
        [*node.prefix(), *options.command], check=False, env={**os.environ, "KUBECONFIG": str(node.kubeconfig())}
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
