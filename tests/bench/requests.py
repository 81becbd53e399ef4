"""How many S3 requests a minio server answered, by its own metrics."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.request

from tests.cluster.s3.servers import S3Server

_PATH = "/minio/v2/metrics/cluster"
_SETTLE = 12.0
"""Seconds for which minio may answer with figures that it collected before."""


class S3Requests:
    """Everybody's requests, from the making of this object on, or from the last time they were asked for."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self._before = self._total()

    def since(self) -> int:
        total = self._total()
        before, self._before = self._before, total
        return total - before

    def _total(self) -> int:
        time.sleep(_SETTLE)
        asked = urllib.request.Request(self._server.endpoint + _PATH, headers={"Authorization": f"Bearer {self._token()}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:  # a server of our own
            text = answer.read().decode()
        return sum(round(float(value)) for value in re.findall(r"^minio_s3_requests_total\{.*\} (\S+)$", text, re.MULTILINE))

    def _token(self) -> str:
        """What minio wants of a collector of metrics: a JSON web token, signed with the secret key."""
        keys = self._server.credentials
        claims = {"exp": int(time.time()) + 600, "sub": keys.access_key, "iss": "prometheus"}
        head = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, claims))
        return f"{head}.{_encoded(hmac.digest(keys.secret_key.encode(), head.encode(), hashlib.sha512))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
