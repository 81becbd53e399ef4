"""Build the product's image from the project's ordinary Dockerfile, on bases made here, with no network inside the build.

Wheels are fetched beforehand (from the lock file, for the image's Python) and shown to the build as /wheels.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from tests.cluster import image_archive, images, places
from tests.cluster.trouble import Trouble

PYTHON = "3.11"
"""What Debian bookworm has."""

MOST_LAYERS = 60
INPUTS = ("Dockerfile", "pyproject.toml", "uv.lock", "README.md", "LICENSE", "operator")
PLATFORM_TAGS = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5", "manylinux1")


def key() -> str:
    """Changes with everything that can change the image."""
    files = [places.CHECKOUT / name for name in INPUTS]
    contents = [path for file in files for path in ([file] if file.is_file() else sorted(file.rglob("*"))) if _counts(path)]
    parts: list[str | bytes] = [images.DEBIAN, images.BASE_PACKAGES, images.BUILDER_PACKAGES, *images.LEFT_OUT]
    for path in contents:
        parts += [str(path.relative_to(places.CHECKOUT)), path.read_bytes()]
    return images.hash_of(*parts)


def make(out: Path) -> None:
    """Run the Dockerfile with buildah and write the result as an archive."""
    wheels = _wheels()
    storage = places.cache() / "images" / "buildah"
    _bound(storage)
    buildah = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "overlay"]
    bases = {"BASE": ("base", images.BASE_PACKAGES), "BUILDER": ("builder", images.BUILDER_PACKAGES)}
    arguments = [f"--build-arg={name}=docker-archive:{_base(*base)}" for name, base in bases.items()]
    arguments += ["--build-arg=PACKAGES=--no-index --find-links /wheels", f"--volume={wheels}:/wheels:ro"]
    # chroot: no namespaces or cgroups are needed for the build, so it runs wherever root is.
    build = [*buildah, "build", "--isolation=chroot", "--layers", "--quiet", *arguments, "--tag", images.PRODUCT, str(places.CHECKOUT)]
    images.run(build, "apt-get install buildah; the lines above tell which step of the Dockerfile failed")
    images.run([*buildah, "push", "--quiet", images.PRODUCT, f"docker-archive:{out}:{images.PRODUCT}"], "see that the disk is not full")


def _bound(storage: Path) -> None:
    """Start the layer cache afresh when many builds have piled up: it has no other bound, and a cold build is short."""
    layers = storage / "root" / "overlay"
    if layers.is_dir() and len(list(layers.iterdir())) > MOST_LAYERS:
        shutil.rmtree(storage)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _base(name: str, packages: str) -> Path:
    tree = images.debian_tree(name, packages)
    return images.cached(
        f"{name}-image",
        images.hash_of(images.DEBIAN, packages, *images.LEFT_OUT),
        lambda out: image_archive.write(tree, f"localhost/recoup-{name}:1", out),
        "a base of the product's image",
    )


def _wheels() -> Path:
    """A folder with every wheel of the lock file and of the build tools that the Dockerfile names."""
    lock, dockerfile = (places.CHECKOUT / "uv.lock").read_bytes(), (places.CHECKOUT / "Dockerfile").read_text()
    tools = re.findall(r"\b(?:uv|hatchling)==[\d.]+", dockerfile)
    return images.cached(
        "wheels", images.hash_of(lock, *tools, PYTHON), lambda out: _fetch_wheels(out, tools), "Python packages", suffix=""
    )


def _fetch_wheels(out: Path, tools: list[str]) -> None:
    out.mkdir()
    requirements = out / "requirements.txt"
    export = [
        _uv(),
        "export",
        "--quiet",
        "--frozen",
        "--extra",
        "operator",
        "--no-dev",
        "--no-emit-project",
        "--output-file",
        str(requirements),
    ]
    images.run(export, "see that uv.lock fits pyproject.toml: uv lock --check", cwd=places.CHECKOUT)
    machine = os.uname().machine
    target = [f"--platform={tag}_{machine}" for tag in PLATFORM_TAGS]
    target += [f"--python-version={PYTHON}", "--implementation=cp", f"--abi=cp{PYTHON.replace('.', '')}", "--abi=abi3", "--abi=none"]
    pip = [_uv(), "run", "--quiet", "--no-project", "--python", sys.executable, "--with", "pip", "python", "-m", "pip"]
    fetch = [*pip, "--disable-pip-version-check", "download", "--quiet", "--only-binary=:all:", f"--dest={out}", *target]
    step = "the Python package index must be reachable for this step"
    images.run([*fetch, "--require-hashes", "--requirement", str(requirements)], step, cwd=out)
    images.run([*fetch, *tools], step, cwd=out)


def _uv() -> str:
    """The uv that tests/setup.sh uses: on PATH, or the one it brought into the cache."""
    brought = places.cache() / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(brought) if brought.exists() else None)
    if not found:
        raise Trouble("uv is missing", step="make setup")
    return found
