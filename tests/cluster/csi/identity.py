"""CSI's Identity service: who the driver is. Method names are CSI's."""
# ruff: noqa: N802, ARG002

from typing import Any

import csi_pb2 as csi  # type: ignore[import-not-found]  # generated, see stubs.py
import csi_pb2_grpc  # type: ignore[import-not-found]
import grpc

VERSION = "1.0.0"


class Identity(csi_pb2_grpc.IdentityServicer):  # type: ignore[misc]
    def __init__(self, driver: str) -> None:
        self._driver = driver

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return csi.GetPluginInfoResponse(name=self._driver, vendor_version=VERSION)

    def GetPluginCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        service, expansion = csi.PluginCapability.Service, csi.PluginCapability.VolumeExpansion
        return csi.GetPluginCapabilitiesResponse(
            capabilities=[
                csi.PluginCapability(service=service(type=service.CONTROLLER_SERVICE)),
                csi.PluginCapability(service=service(type=service.VOLUME_ACCESSIBILITY_CONSTRAINTS)),
                csi.PluginCapability(volume_expansion=expansion(type=expansion.ONLINE)),
            ]
        )

    def Probe(self, request: Any, context: grpc.ServicerContext) -> Any:
        return csi.ProbeResponse()
