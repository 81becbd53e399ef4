"""The lean descriptions of S3 describe the same requests as botocore's own."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from recoup.engine.stores import s3_models


def _session(*, lean: bool) -> botocore.session.Session:
    session = botocore.session.Session()
    if lean:
        session.register_component("data_loader", s3_models.loader())
    session.set_credentials("access", "secret")
    return session


def _sent(service: str, region: str, call: str, *, lean: bool, **arguments: Any) -> tuple[str, str, dict[str, Any]]:
    """Method, address and parameters of the request that a call would send."""
    client = _session(lean=lean).create_client(service, region_name=region, config=Config(signature_version="s3v4"))
    seen: list[Any] = []

    def stop(request: Any, **_: Any) -> None:
        seen.append(request)
        raise InterruptedError

    client.meta.events.register("before-sign", stop)
    with pytest.raises(InterruptedError):
        getattr(client, call)(**arguments)
    return seen[0].method, seen[0].url, dict(seen[0].params or {})


def test_every_operation_is_described_as_before() -> None:
    ours, theirs = (_session(lean=lean).get_service_model("s3") for lean in (True, False))
    assert list(ours.operation_names) == list(theirs.operation_names)
    for name in theirs.operation_names:
        for side in ("input_shape", "output_shape"):
            mine, original = (getattr(model.operation_model(name), side) for model in (ours, theirs))
            assert (mine and list(mine.members)) == (original and list(original.members))
    assert not ours.operation_model("PutObject").documentation  # else nothing was saved


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
@pytest.mark.parametrize(
    ("service", "call", "arguments"),
    [
        ("s3", "put_object", {"Bucket": "bucket", "Key": "a/b", "Body": b"1", "IfNoneMatch": "*"}),
        ("s3", "list_object_versions", {"Bucket": "a.dotted.bucket", "Prefix": "x"}),
        ("sts", "get_caller_identity", {}),
    ],
)
def test_requests_go_where_they_went(service: str, region: str, call: str, arguments: dict[str, Any]) -> None:
    assert _sent(service, region, call, lean=True, **arguments) == _sent(service, region, call, lean=False, **arguments)
