"""Build the Go programs of the local cluster from `programs/*/go.mod` into the cache, once per content of those files.

A set is a folder with go.mod and go.sum; its `tool` lines name the programs. Two runs at once build a set once (file
lock) and never see half of one (built aside, then renamed). `python -m tests.cluster.programs --help` for hand use.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import places
from tests.cluster.once import made_once, path_of
from tests.cluster.trouble import Trouble

KUBERNETES_VERSION = "v1.36.3"
GO_NEEDED = (1, 26)


def _kubernetes_stamps() -> str:
    """Without these the API server calls itself v0.0.0 and clients refuse it."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    names = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "archive"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in names.items())


@dataclass(frozen=True)
class ProgramSet:
    """One folder of `programs/`: what differs from a plain build."""

    about: str
    cold: str
    tests: bool = True
    """Whether the quick tests and the demo need it; what only benchmarks need is built when they ask."""
    ldflags: str = ""
    tags: str = ""
    rename: tuple[tuple[str, str], ...] = ()
    share: tuple[tuple[str, str], ...] = ()
    """(module, path in it) copied to `share/` beside the programs: data files that belong to the same versions."""


SETS: dict[str, ProgramSet] = {
    "versitygw": ProgramSet("S3 server, the second provider", "1 min"),
    "minio": ProgramSet("S3 server, the everyday home", "2 min"),
    "kubernetes": ProgramSet(
        f"Kubernetes {KUBERNETES_VERSION}, etcd and the CSI controllers",
        "8 min",
        ldflags=_kubernetes_stamps(),
        rename=(("server", "etcd"),),
        share=(
            ("github.com/kubernetes-csi/external-snapshotter/client/v8", "config/crd"),
            ("github.com/container-storage-interface/spec", "csi.proto"),
            ("k8s.io/kubelet", "pkg/apis/pluginregistration/v1/api.proto"),
        ),
    ),
    "coredns": ProgramSet("cluster DNS", "2 min"),
    "helm": ProgramSet("installs the chart", "1 min"),
    "glua": ProgramSet("the Lua that Argo CD runs", "30 s"),
    "promtool": ProgramSet("runs the tests of the alert rules", "2 min", tags="remove_all_sd"),
    "csi-sanity": ProgramSet("conformance of the CSI driver", "1 min"),
    "restic": ProgramSet("a peer in the benchmarks", "1 min", tests=False),
    "kopia": ProgramSet("a peer in the benchmarks", "2 min", tests=False),
    "kwok": ProgramSet("fake nodes: a second zone, scale tests", "1 min", share=(("sigs.k8s.io/kwok", "kustomize/stage"),)),
}


def program(name: str) -> Path:
    """The path of one program, its set built if need be."""
    for set_name in SETS:
        if name in programs_of(set_name):
            return build(set_name) / "bin" / name
    raise Trouble(f"no program {name!r} in tests/cluster/programs", step="python -m tests.cluster.programs list")


def share(set_name: str) -> Path:
    """The folder of data files that came with a set (see ProgramSet.share)."""
    return build(set_name) / "share"


def programs_of(set_name: str) -> list[str]:
    """The programs that a set's `tool` lines name."""
    renames = dict(_known(set_name).rename)
    text = (places.GO_MODULES / set_name / "go.mod").read_text()
    blocks = [*re.findall(r"^tool \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL), *re.findall(r"^tool ([^(\s]+)$", text, re.MULTILINE)]
    bases = [re.sub(r"/v\d+$", "", package).rsplit("/", 1)[-1] for block in blocks for package in block.split()]
    return [renames.get(base, base) for base in bases]


def build(set_name: str) -> Path:
    """Build a set unless the cache has it; return its folder, with `bin/` and perhaps `share/`."""

    def make(out: Path) -> None:
        check_go()
        out.mkdir()
        _compile(set_name, out)
        _copy_share(set_name, out)

    return made_once(_folder(), set_name, _key(set_name), make)


def installed_path(set_name: str) -> Path:
    """Where a set lies once built."""
    return path_of(_folder(), set_name, _key(set_name))


def _folder() -> Path:
    return places.cache() / "programs"


def _key(set_name: str) -> str:
    """Changes with everything that decides the content of a set."""
    spec, folder = _known(set_name), places.GO_MODULES / set_name
    decisions = [repr(decision).encode() for decision in (spec.ldflags, spec.rename, spec.share, *((spec.tags,) if spec.tags else ()))]
    return hashlib.sha256(b"\0".join([(folder / "go.mod").read_bytes(), (folder / "go.sum").read_bytes(), *decisions])).hexdigest()


def check_go() -> None:
    """Raise Trouble unless a Go toolchain new enough is on PATH."""
    go = shutil.which("go")
    found = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip() if go else ""
    match = re.match(r"go(\d+)\.(\d+)", found)
    if not match or tuple(map(int, match.groups())) < GO_NEEDED:
        needed = ".".join(map(str, GO_NEEDED))
        have = f"found {found}" if found else "none found on PATH"
        raise Trouble(
            f"Go {needed} or newer is needed to build the cluster's programs; {have}",
            step=f"install Debian's package golang-{needed} (backports) or a Go release of your own, and put its bin/ on PATH",
        )


def _known(set_name: str) -> ProgramSet:
    if set_name not in SETS:
        raise Trouble(f"no program set {set_name!r}; there are: {', '.join(SETS)}")
    return SETS[set_name]


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}


def _compile(set_name: str, out: Path) -> None:
    spec = _known(set_name)
    command = ["nice", "go", "build", "-v", "-mod=readonly", "-buildvcs=false", "-trimpath"]
    command += ["-tags", spec.tags, "-ldflags", f"-s -w {spec.ldflags}".strip(), "-o", f"{out / 'bin'}/", "tool"]
    (out / "bin").mkdir()
    log = _folder() / f"{set_name}.log"
    with log.open("w+") as output:
        process = subprocess.Popen(
            command, cwd=places.GO_MODULES / set_name, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            _watch(process, set_name, log)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise Trouble(f"go build of {set_name} failed:\n{tail}", step=f"the whole output is in {log}")
    for old, new in spec.rename:
        (out / "bin" / old).rename(out / "bin" / new)


def _watch(process: subprocess.Popen[bytes], set_name: str, log: Path) -> None:
    """Keep one line of progress: packages compiled so far and time."""
    started, said, live = time.monotonic(), -60.0, sys.stderr.isatty()
    while process.poll() is None:
        elapsed = time.monotonic() - started
        if elapsed - said >= (1 if live else 30):
            said = elapsed
            lines = log.read_bytes().count(b"\n")
            text = f"building {set_name} ({SETS[set_name].about}): {lines} packages, {elapsed:.0f} s; cold about {SETS[set_name].cold}"
            print(f"\r{text}\x1b[K" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
    done = f"built {set_name} in {time.monotonic() - started:.0f} s"
    print(f"\r{done}\x1b[K" if live else done, file=sys.stderr, flush=True)


def _copy_share(set_name: str, out: Path) -> None:
    for module, path in SETS[set_name].share:
        listed = subprocess.run(
            ["go", "mod", "download", "-json", module],
            cwd=places.GO_MODULES / set_name,
            env={**_environment(), "GOFLAGS": "-mod=readonly"},
            capture_output=True,
            text=True,
            check=False,
        )
        if listed.returncode:
            raise Trouble(f"cannot fetch {module} for {set_name}: {listed.stderr.strip() or listed.stdout.strip()}")
        source, target = Path(json.loads(listed.stdout)["Dir"]) / path, out / "share" / Path(path).name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target.with_name(f"{Path(module).name}.proto"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.programs", description="Build the programs of the local cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build sets (without a name: those the tests need); nothing to do when the cache has them")
    builder.add_argument("name", nargs="*", help=", ".join(SETS))
    commands.add_parser("list", help="every set, its programs, and whether the cache has it")
    finder = commands.add_parser("path", help="print the path of one program, built if need be")
    finder.add_argument("program")
    options = parser.parse_args(arguments)
    if options.command == "build":
        for name in options.name or [name for name, spec in SETS.items() if spec.tests]:
            print(build(name))
    elif options.command == "path":
        print(program(options.program))
    else:
        for name, spec in SETS.items():
            state = "built" if installed_path(name).is_dir() else f"not built, about {spec.cold}"
            print(f"{name:12} {spec.about} [{state}]: {', '.join(programs_of(name))}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
