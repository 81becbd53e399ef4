"""Listings in pages: a token is the id at which the next page begins."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import grpc

from tests.cluster.csi.volumes import Refused

Entry = TypeVar("Entry")


def page(entries: Iterable[Entry], *, token: str, most: int, identity: Callable[[Entry], str]) -> tuple[list[Entry], str]:
    """Return at most `most` entries (0: all) from the token on, and the next token or an empty one.

    Raises Refused (ABORTED, as CSI wants it) for a token that names nothing: the listing must be begun anew.
    """
    wanted = list(entries)
    if token:
        starts = [index for index, entry in enumerate(wanted) if identity(entry) == token]
        if not starts:
            raise Refused(grpc.StatusCode.ABORTED, f"no entry {token} any more: begin again without a token")
        wanted = wanted[starts[0] :]
    if most and len(wanted) > most:
        return wanted[:most], identity(wanted[most])
    return wanted, ""
