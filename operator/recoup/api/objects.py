"""What all custom resources share: group and version, metadata, the two struct flavours, decoding from plain JSON.

Specs are decoded precisely: a field that this version does not know is an error, because ignoring it would break a promise that
somebody reads in the object. Statuses and metadata are decoded leniently, so that an older controller can run over a newer one's
objects. The kinds themselves are in backuplocation.py, backuppolicy.py, backupsnapshot.py and restorerequest.py.
"""

from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from recoup.errors import Invalid

GROUP = "recoup.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VOLUME_MESSAGE_LIMIT = 2048
"""Characters of the message about one volume: there may be 256 of them, in an object that may have 1.5 MiB."""


class Spec(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Flavour of everything under `spec`."""


class Status(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Flavour of everything under `status`: what is unset is absent, so that a server-side apply removes it."""


class Reference(Spec, frozen=True):
    """Names another object; where it lives is fixed by the field that holds the reference."""

    name: str


class ObjectMeta(Struct, frozen=True, kw_only=True, rename="camel"):
    """The part of metadata that decisions look at."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()


def cut(text: str, limit: int) -> str:
    """The text, ended with an ellipsis where its schema ends it: a message that is too long must not keep a status from being written."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


T = TypeVar("T")


def decode(kind: type[T], plain: dict[str, Any]) -> T:
    """Read an object as the API server returned it. Raises Invalid naming the object and the path of what does not fit."""
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        metadata = plain.get("metadata") or {}
        where = "/".join(str(part) for part in (metadata.get("namespace"), metadata.get("name")) if part)
        raise Invalid(f"{plain.get('kind', kind.__name__)} {where}: {error}; are the CRDs and the controller of one version?") from error


def encode(value: Struct) -> dict[str, Any]:
    """The plain JSON of a status or spec: camelCase, unset fields absent, times as RFC 3339; equal to what a GET returns."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return plain
