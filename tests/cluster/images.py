"""The container images of the local cluster, without a registry: built into the cache as archives, loaded into containerd.

`localhost/pause:1` (sandboxes), `localhost/workload:dev` (a small Debian with Python and the tools tests compare with) and
`localhost/recoup:dev` (the product, from the project's Dockerfile). Each is keyed by a hash of what goes into it.
`python -m tests.cluster.images --help` for hand use; the product's own build is in product_image.py.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import image_archive, places
from tests.cluster.once import made_once
from tests.cluster.trouble import Trouble

PAUSE = "localhost/pause:1"
WORKLOAD = "localhost/workload:dev"
PRODUCT = "localhost/recoup:dev"

DEBIAN = "bookworm"
BASE_PACKAGES = "python3,ca-certificates"
BUILDER_PACKAGES = "python3,python3-venv,ca-certificates"
WORKLOAD_PACKAGES = "python3,acl,attr,libcap2-bin,rsync"
LEFT_OUT = ("man", "doc", "locale", "info")
"""Folders of /usr/share that no test reads: a third of a small Debian, unpacked once for each cluster."""

PAUSE_SOURCE = places.SOURCES / "images" / "pause.c"


@dataclass(frozen=True)
class Recipe:
    """How one archive comes about: `key` tells its inputs apart, `make` writes it into the given path."""

    about: str
    key: Callable[[], str]
    make: Callable[[Path], None]


def archive(tag: str) -> Path:
    """The archive of one of our images, built unless the cache has it."""
    if tag not in RECIPES:
        raise Trouble(
            f"no image {tag!r} is built here; there are: {', '.join(RECIPES)}", step="load a file: kind load image-archive FILE --name NAME"
        )
    recipe = RECIPES[tag]
    return cached(tag.removeprefix("localhost/").replace(":", "-"), recipe.key(), recipe.make, recipe.about)


def cached(name: str, key: str, make: Callable[[Path], None], about: str, suffix: str = ".tar") -> Path:
    """One image, tree or set of packages in the cache, made if it is not there yet."""

    def visibly(out: Path) -> None:
        print(f"making {name} ({about}) ...", file=sys.stderr, flush=True)
        started = time.monotonic()
        make(out)
        print(f"made {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    return made_once(places.cache() / "images", name, key, visibly, suffix=suffix)


def hash_of(*parts: str | bytes) -> str:
    return hashlib.sha256(b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)).hexdigest()


def debian_tree(name: str, packages: str) -> Path:
    """A minimal Debian with these packages, as a tar."""

    def make(out: Path) -> None:
        left_out = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in LEFT_OUT]
        command = ["nice", "mmdebstrap", "--variant=minbase", f"--include={packages}", "--format=tar", *left_out, DEBIAN, str(out)]
        run(command, "mmdebstrap fetches Debian packages: see that the mirror can be reached")

    return cached(f"{name}-tree", hash_of(DEBIAN, packages, *LEFT_OUT), make, f"Debian {DEBIAN} with {packages}, about 1 min")


def run(command: list[str], step: str, *, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a build program; raise Trouble with the end of its output if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Trouble(f"{' '.join(command[:6])} ... failed:\n{tail}", step=step)
    return done.stdout


def _make_pause(out: Path) -> None:
    binary, layer = out.with_name("pause"), out.with_name("layer.tar")
    run(["gcc", "-Os", "-static", "-s", "-o", str(binary), str(PAUSE_SOURCE)], "apt-get install gcc libc6-dev")
    image_archive.tree(layer, {"pause": binary})
    image_archive.write(layer, PAUSE, out, entrypoint=["/pause"])


def _make_workload(out: Path) -> None:
    image_archive.write(debian_tree("workload", WORKLOAD_PACKAGES), WORKLOAD, out)


def _product_key() -> str:
    from tests.cluster import product_image

    return product_image.key()


def _make_product(out: Path) -> None:
    from tests.cluster import product_image

    product_image.make(out)


RECIPES: dict[str, Recipe] = {
    PAUSE: Recipe("pod sandboxes", lambda: hash_of(PAUSE_SOURCE.read_bytes()), _make_pause),
    WORKLOAD: Recipe("tests' pods", lambda: hash_of(DEBIAN, WORKLOAD_PACKAGES, *LEFT_OUT), _make_workload),
    PRODUCT: Recipe("the product", _product_key, _make_product),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.images", description="Build and load the local cluster's images.")
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build images into the cache (all of them without a tag); prints the archives")
    builder.add_argument("tag", nargs="*", help=", ".join(RECIPES))
    loader = commands.add_parser("load", help="build if need be, and load into a running cluster")
    loader.add_argument("--name", default="kind", help="the cluster (default: %(default)s)")
    loader.add_argument("tag", nargs="*", default=[PRODUCT], help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.command == "build":
        for tag in options.tag or RECIPES:
            print(archive(tag))
        return 0
    from tests.cluster import lifecycle

    for tag in options.tag:
        lifecycle.load_image(options.name, archive(tag))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        sys.exit(f"error: {trouble}")
