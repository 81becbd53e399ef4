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


def test_the_operations_that_are_called_are_described_as_before() -> None:
    ours, theirs = (_session(lean=lean).get_service_model("s3") for lean in (True, False))
    assert set(ours.operation_names) == s3_models.OPERATIONS
    for name in ours.operation_names:
        for side in ("input_shape", "output_shape"):
            mine, original = (getattr(model.operation_model(name), side) for model in (ours, theirs))
            assert (mine and list(mine.members)) == (original and list(original.members))
    assert not ours.operation_model("PutObject").documentation  # else nothing was saved
    assert len(ours.operation_names) < len(theirs.operation_names)


def test_the_services_are_those_that_botocore_has() -> None:
    ours, theirs = (_session(lean=lean).get_component("data_loader") for lean in (True, False))
    assert set(ours.list_available_services("service-2")) <= set(theirs.list_available_services("service-2"))


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
