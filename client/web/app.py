"""The web application: the methods, the page, the limits. The only place that joins them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from client.cli.paths import IMAGE_SUFFIXES
from client.errors import ClientError
from client.images import MAX_IMAGE_BYTES
from client.web.api import Api
from client.web.departure import EndsWithCaller
from client.web.errors import on_bug, on_client_error, on_http_error
from client.web.inflate import Inflated
from client.web.limits import ByteBudget, SecurityHeaders, UploadLimits
from client.web.oip import InferenceApi
from client.web.upstream import Upstream

STATIC = Path(__file__).with_name("static")
BUNDLED_EXAMPLES = STATIC / "examples"

MAX_BODY_BYTES = 2 * MAX_IMAGE_BYTES
_ALL_BODIES_BYTES = 8 * MAX_BODY_BYTES
_CONCURRENT_UPLOADS = 64
_LONGEST_BODY_S = 60.0
_MOST_EXAMPLES = 12


def create_app(
    client: Upstream, *, admin: Upstream | None = None, examples: Path = BUNDLED_EXAMPLES
) -> Starlette:
    """Return the application. It closes its clients, which belong to its event loop, at the end.

    Args:
        client: Whom to ask.
        admin: Who loads and unloads models for callers; None: nobody.
        examples: A folder whose first photos the page offers.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for each in (client, admin):
                if each is not None:
                    await stack.enter_async_context(each)
            yield

    names = _example_names(examples)
    budget = ByteBudget(_ALL_BODIES_BYTES)

    async def page(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def docs(_request: Request) -> Response:
        return FileResponse(STATIC / "docs.html", headers={"cache-control": "no-cache"})

    async def listed(_request: Request) -> Response:
        return JSONResponse({"examples": names})

    return Starlette(
        routes=[
            *Api(client).routes(),
            *InferenceApi(client, admin).routes(),
            *_grpc_web(client),
            Route("/", page),
            Route("/docs", docs),
            Route("/examples", listed),
            Mount("/examples", _Revalidated(directory=examples)),
            Mount("/static", _Revalidated(directory=STATIC)),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(
                UploadLimits,
                concurrent=_CONCURRENT_UPLOADS,
                body_bytes=MAX_BODY_BYTES,
                body_s=_LONGEST_BODY_S,
                budget=budget,
            ),
            Middleware(EndsWithCaller),
            Middleware(Inflated, body_bytes=MAX_BODY_BYTES, budget=budget),
        ],
        exception_handlers={
            ClientError: on_client_error,
            HTTPException: on_http_error,
            Exception: on_bug,
        },
        lifespan=lifespan,
    )


def _grpc_web(client: Upstream) -> list[Mount]:
    """Return the routes of gRPC-Web, where its extra is installed."""
    if find_spec("connectrpc") is None:
        return []
    from client.web.grpc_web import grpc_web_routes  # noqa: PLC0415 (an extra)

    return grpc_web_routes(client)


class _Revalidated(StaticFiles):
    """Files that browsers ask for again, with their ETag: an update is seen at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Return the file, to be revalidated."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["cache-control"] = "no-cache"
        return response


def _example_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
    return names[:_MOST_EXAMPLES]
