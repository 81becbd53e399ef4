"""The kubelet's plugin registration, served by the driver itself: no separate registrar process. Method names are the kubelet's."""
# ruff: noqa: N802, ARG002

import logging
from pathlib import Path
from typing import Any

import grpc
import registration_pb2  # type: ignore[import-not-found]  # generated, see stubs.py
import registration_pb2_grpc  # type: ignore[import-not-found]

log = logging.getLogger("csi")


class Registration(registration_pb2_grpc.RegistrationServicer):  # type: ignore[misc]
    def __init__(self, driver: str, endpoint: Path) -> None:
        self._driver, self._endpoint = driver, endpoint

    def GetInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return registration_pb2.PluginInfo(type="CSIPlugin", name=self._driver, endpoint=str(self._endpoint), supported_versions=["1.0.0"])

    def NotifyRegistrationStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.plugin_registered:
            log.info("the kubelet has registered %s", self._driver)
        else:
            log.error("the kubelet refuses %s: %s", self._driver, request.error)
        return registration_pb2.RegistrationStatusResponse()
