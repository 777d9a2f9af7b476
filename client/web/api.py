"""The HTTP methods. Each reads a request, asks the gRPC server, writes the same JSON as the CLI."""

import asyncio
import base64
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from client.aio import AsyncClient
from client.cli.health import is_serving
from client.cli.json_lines import (
    Json,
    error_object,
    explained_object,
    health_object,
    image_object,
    model_object,
)
from client.errors import ClientError
from client.health import OVERALL, SERVICES
from client.web.errors import http_status
from client.web.openapi import openapi_document
from client.web.uploads import (
    MAX_BATCH_IMAGES,
    Upload,
    method,
    model_choice,
    number,
    priority,
    read_upload,
    top_k,
)

# Of one batch: enough to fill the server's batches, few enough to leave room for others.
_BATCH_IN_FLIGHT = 16


class Api:
    """The endpoints over one gRPC client."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._openapi = openapi_document()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/classify", self.classify, methods=["POST"]),
            Route("/v1/classify:batch", self.classify_batch, methods=["POST"]),
            Route("/v1/explain", self.explain, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/health", self.health),
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/openapi.json", self.openapi),
        ]

    async def classify(self, request: Request) -> Response:
        """Classify the image of the request."""
        upload = await read_upload(request, most_images=1)
        ((name, image),) = upload.images
        request_id = request.headers.get("x-request-id", "")
        found = await self._classify_one(upload, name, image, request_id)
        return JSONResponse(found)

    async def _classify_one(
        self, upload: Upload, name: str, image: bytes, request_id: str = ""
    ) -> Json:
        choices = upload.choices
        answer = await self._client.classify(
            image,
            top_k=top_k(choices),
            min_score=number(choices, "min_score"),
            coverage=number(choices, "coverage"),
            priority=priority(choices, "normal"),
            request_id=request_id,
            **model_choice(choices),
        )
        return image_object(name, answer, verbose=True)

    async def classify_batch(self, request: Request) -> Response:
        """Classify every image of a form; a bad one has its error and the others go on."""
        upload = await read_upload(request, most_images=MAX_BATCH_IMAGES)
        slots = asyncio.Semaphore(_BATCH_IN_FLIGHT)

        async def one(name: str, image: bytes) -> Json:
            async with slots:
                try:
                    return await self._classify_one(upload, name, image)
                except ClientError as error:
                    told = error_object(error) | {"status": http_status(error)}
                    return {"path": name, "error": told}

        results = await asyncio.gather(*(one(name, image) for name, image in upload.images))
        return JSONResponse({"results": results})

    async def explain(self, request: Request) -> Response:
        """Classify the image of the request and say where the model looked."""
        upload = await read_upload(request, most_images=1)
        ((name, image),) = upload.images
        choices = upload.choices
        answer = await self._client.explain(
            image,
            label_id=choices.get("label_id", ""),
            method=method(choices),
            overlay=choices.get("overlay", "") == "true",
            priority=priority(choices, "normal"),
            **model_choice(choices),
        )
        found = explained_object(name, answer)
        if isinstance(found, dict) and answer.explanation and answer.explanation.overlay_png:
            png = base64.b64encode(answer.explanation.overlay_png).decode("ascii")
            found["overlay_png"] = png
        return JSONResponse(found)

    async def models(self, _request: Request) -> Response:
        """List every model version of the server."""
        found = await self._client.models()
        return JSONResponse({"models": [model_object(model) for model in found]})

    async def health(self, _request: Request) -> Response:
        """Tell whether the gRPC server takes requests; 503 if it does not."""
        services = (OVERALL, *SERVICES)
        found = await asyncio.gather(*(self._client.health(service) for service in services))
        statuses = dict(zip(services, found, strict=True))
        serving = is_serving(statuses)
        told = health_object(self._client.address, statuses, serving=serving)
        return JSONResponse(told, 200 if serving else 503)

    async def ready(self, request: Request) -> Response:
        """Tell the same to whoever routes traffic, without a body to parse."""
        try:
            answer = await self.health(request)
        except ClientError as error:
            return PlainTextResponse(f"{error.message}\n", 503)
        text = "ok\n" if answer.status_code == HTTPStatus.OK else "not serving\n"
        return PlainTextResponse(text, answer.status_code)

    async def alive(self, _request: Request) -> Response:
        """Tell that the gateway runs, whatever the server does."""
        return PlainTextResponse("ok\n")

    async def openapi(self, _request: Request) -> Response:
        """Describe this interface."""
        return JSONResponse(self._openapi)
