"""Write a container image of one layer as a docker-archive, from a file tree given as a tar: no daemon, no registry."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def write(layer: Path, tag: str, out: Path, *, entrypoint: list[str] | None = None, environment: list[str] | None = None) -> None:
    """Write `out` so that `ctr images import` gives the image `tag`, whose content is the tar `layer`."""
    with layer.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": entrypoint or [], "Env": [path, *(environment or [])]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created_by": "tests.cluster.images"}],
    }
    encoded = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(out, "w") as archive:
        archive.add(layer, "layer.tar", filter=_anonymous)
        for name, data in ((config_name, encoded), ("manifest.json", json.dumps(manifest).encode())):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def tree(out: Path, files: dict[str, Path]) -> None:
    """Write a layer tar with the given files, executable and owned by root."""
    with tarfile.open(out, "w") as archive:
        for name, source in files.items():
            entry = _anonymous(archive.gettarinfo(str(source), name))
            entry.mode = 0o755
            with source.open("rb") as handle:
                archive.addfile(entry, handle)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry
