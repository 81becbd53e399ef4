"""Generate the gRPC stubs of CSI and of the kubelet's plugin registration into the cache, once per content of the protos.

The protos come with the program set `kubernetes`, so they are of the versions that the sidecars and the kubelet speak.
The generated modules (`csi_pb2`, `csi_pb2_grpc`, `registration_pb2`, …) are never committed.
"""

import hashlib
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

from tests.cluster import places
from tests.cluster.programs import share
from tests.cluster.trouble import Trouble

PROTOS = {"spec.proto": "csi.proto", "kubelet.proto": "registration.proto"}


def folder() -> Path:
    """The folder to put on PYTHONPATH; generated if the cache has it not."""
    source = share("kubernetes")
    texts = {target: (source / name).read_bytes() for name, target in PROTOS.items()}
    key = hashlib.sha256(b"\0".join(texts.values())).hexdigest()[:12]
    final = places.cache() / "csi-stubs" / key
    if not final.is_dir():
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=final.parent))
        try:
            _generate(texts, aside)
            _publish(aside, final)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return final


def _generate(texts: dict[str, bytes], target: Path) -> None:
    for name, text in texts.items():
        (target / name).write_bytes(text)
    well_known = files("grpc_tools") / "_proto"
    arguments = [f"-I{target}", f"-I{well_known}", f"--python_out={target}", f"--grpc_python_out={target}"]
    if protoc.main(["protoc", *arguments, *(str(target / name) for name in texts)]) != 0:
        raise Trouble(f"protoc failed on {', '.join(texts)}", step="its message is above")
    target.chmod(0o755)


def _publish(aside: Path, final: Path) -> None:
    try:
        aside.rename(final)
    except OSError:
        if not final.is_dir():  # another run was first: its result is the same
            raise
