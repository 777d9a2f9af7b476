"""AdminService: checks what a call names and hands it to the catalog's control."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import re
from math import isfinite

import grpc
from google.protobuf.message import Message

from models.manifest import NAME_PATTERN, VERSION_PATTERN
from proto.classify.v1 import admin_pb2, model_pb2
from server.catalog.catalog import Catalog
from server.catalog.control import Control
from server.catalog.entry import Entry
from server.errors import InvalidRequestError
from server.rpc import translate
from server.rpc.calls import Context, unary

SERVICE = "classify.v1.AdminService"


class AdminServicer:
    """Changes which models are served, and to whom.

    Args:
        control: Does it.
        catalog: Says which version is the default.
    """

    def __init__(self, control: Control, catalog: Catalog) -> None:
        self._control = control
        self._catalog = catalog

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The service, for ``server.add_generic_rpc_handlers``."""
        methods = {
            "LoadModel": unary(admin_pb2.LoadModelRequest, self._load),
            "UnloadModel": unary(admin_pb2.UnloadModelRequest, self._unload),
            "SetLabel": unary(admin_pb2.SetLabelRequest, self._set_label),
            "SetCanary": unary(admin_pb2.SetCanaryRequest, self._set_canary),
            "SetShadow": unary(admin_pb2.SetShadowRequest, self._set_shadow),
            "RollBack": unary(admin_pb2.RollBackRequest, self._roll_back),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _load(
        self, request: admin_pb2.LoadModelRequest, _context: Context
    ) -> admin_pb2.LoadModelResponse:
        entries = await self._control.load(model_name(request.name), version_of(request.version))
        return admin_pb2.LoadModelResponse(models=map(self._model, entries))

    async def _unload(
        self, request: admin_pb2.UnloadModelRequest, _context: Context
    ) -> admin_pb2.UnloadModelResponse:
        await self._control.unload(model_name(request.name), version_of(request.version))
        return admin_pb2.UnloadModelResponse()

    async def _set_label(
        self, request: admin_pb2.SetLabelRequest, _context: Context
    ) -> admin_pb2.SetLabelResponse:
        version = version_of(request.version)
        self._control.set_label(model_name(request.name), request.label, version)
        await self._control.settled()
        return admin_pb2.SetLabelResponse()

    async def _set_canary(
        self, request: admin_pb2.SetCanaryRequest, _context: Context
    ) -> admin_pb2.SetCanaryResponse:
        version = version_of(request.version)
        if version is None:
            raise InvalidRequestError("version", "is required")
        share = share_of(request.share)
        self._control.set_canary(model_name(request.name), version, share)
        await self._control.settled()
        return admin_pb2.SetCanaryResponse()

    async def _set_shadow(
        self, request: admin_pb2.SetShadowRequest, _context: Context
    ) -> admin_pb2.SetShadowResponse:
        version, share = version_of(request.version), share_of(request.share)
        if version is None and share > 0:
            raise InvalidRequestError("version", "is required unless share is 0")
        self._control.set_shadow(model_name(request.name), version, share)
        await self._control.settled()
        return admin_pb2.SetShadowResponse()

    async def _roll_back(
        self, request: admin_pb2.RollBackRequest, _context: Context
    ) -> admin_pb2.RollBackResponse:
        entry = await self._control.roll_back(model_name(request.name))
        await self._control.settled()
        return admin_pb2.RollBackResponse(model=self._model(entry))

    def _model(self, entry: Entry) -> model_pb2.Model:
        return translate.model(entry, is_default=self._catalog.is_default(entry))


def model_name(name: str) -> str:
    """A model's name, which is never a path.

    Raises:
        InvalidRequestError: It is none.
    """
    if not re.fullmatch(NAME_PATTERN, name, re.ASCII):
        raise InvalidRequestError("name", f"must match {NAME_PATTERN}")
    return name


def share_of(share: float) -> float:
    """A share of the requests.

    Raises:
        InvalidRequestError: Out of range, NaN or infinite.
    """
    if not isfinite(share) or not 0.0 <= share <= 1.0:
        raise InvalidRequestError("share", "must be from 0 to 1")
    return share


def version_of(version: str) -> int | None:
    """A version's number; None where none is given.

    Raises:
        InvalidRequestError: It is no decimal integer.
    """
    if not version:
        return None
    if not re.fullmatch(VERSION_PATTERN, version, re.ASCII):
        raise InvalidRequestError("version", "must be a decimal integer of 1 to 18 digits")
    return int(version)
