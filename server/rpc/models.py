"""ModelService."""

from __future__ import annotations  # grpc's handler types are generic in their stubs only

import grpc
from google.protobuf.message import Message

from proto.classify.v1 import model_pb2
from server.catalog.catalog import Catalog
from server.rpc import translate
from server.rpc.calls import Context, unary

SERVICE = "classify.v1.ModelService"


class ModelServicer:
    """Describes what the catalog knows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def handlers(self) -> grpc.GenericRpcHandler[bytes, Message]:
        """The service, for ``server.add_generic_rpc_handlers``."""
        methods = {
            "ListModels": unary(model_pb2.ListModelsRequest, self._list),
            "GetModel": unary(model_pb2.GetModelRequest, self._get),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _list(
        self, _request: model_pb2.ListModelsRequest, _context: Context
    ) -> model_pb2.ListModelsResponse:
        models = [
            translate.model(entry, is_default=self._catalog.is_default(entry))
            for entry in self._catalog.entries()
        ]
        return model_pb2.ListModelsResponse(models=models)

    async def _get(
        self, request: model_pb2.GetModelRequest, _context: Context
    ) -> model_pb2.GetModelResponse:
        entry = self._catalog.resolve(translate.selection(request.model))
        model = translate.model(entry, is_default=self._catalog.is_default(entry))
        return model_pb2.GetModelResponse(model=model)
