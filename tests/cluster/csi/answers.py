"""Turn what the driver refuses into gRPC errors, and check what requests must have. See volumes.py for `Refused`."""

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from tests.cluster.csi.commands import CommandFailed
from tests.cluster.csi.volumes import Refused

log = logging.getLogger("csi")
Servicer = TypeVar("Servicer")


def answered(handler: Callable[[Servicer, Any], Any]) -> Callable[[Servicer, Any, grpc.ServicerContext], Any]:
    """Log the request; answer errors of the driver with their code, failures of programs with INTERNAL."""

    @functools.wraps(handler)
    def wrapped(servicer: Servicer, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            answer = handler(servicer, request)
        except Refused as refused:
            log.info("%s refused: %s %s", handler.__name__, refused.code.name, refused)
            context.abort(refused.code, str(refused))
        except (CommandFailed, OSError) as error:
            log.exception("%s failed", handler.__name__)
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        log.info("%s %s", handler.__name__, " ".join(str(request).split()))
        return answer

    return wrapped


def need(**fields: object) -> None:
    """Refuse a request in which one of these fields is empty."""
    for name, value in fields.items():
        if not value:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{name} is missing")
