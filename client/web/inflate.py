"""ASGI middleware that inflates bodies which come compressed, up to a limit."""

import asyncio
import zlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.web.errors import GatewayError, error_answer
from client.web.limits import ByteBudget, too_large

# "deflate" is zlib's format (RFC 9110, 8.4.1.2); zlib tells the two apart by itself.
_ENCODINGS = {"gzip", "x-gzip", "deflate"}
_EITHER = zlib.MAX_WBITS | 32


class Inflated:
    """Inflates the bodies of requests with ``Content-Encoding: gzip`` or ``deflate``.

    A small body may inflate to any size: no more than `body_bytes` is ever made of one, and of
    all no more than the `budget` has left.
    """

    def __init__(self, app: ASGIApp, *, body_bytes: int, budget: ByteBudget) -> None:
        self._app = app
        self._budget = budget
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        encoding = ""
        if scope["type"] == "http":
            encoding = Headers(scope=scope).get("content-encoding", "").strip().lower()
        if encoding in _ENCODINGS:
            held: list[int] = []
            try:
                await self._app(scope, self._inflating(receive, held), send)
            finally:
                self._budget.give_back(sum(held))
        elif encoding in ("", "identity"):
            await self._app(scope, receive, send)
        else:
            refusal = GatewayError(
                415, "Content-Encoding must be gzip, deflate or identity", reason="CONTENT_ENCODING"
            )
            await error_answer(refusal, scope)(scope, receive, send)

    def _inflating(self, receive: Receive, held: list[int]) -> Receive:
        stream = zlib.decompressobj(_EITHER)
        left_bytes = self._body_bytes

        async def inflated() -> Message:
            nonlocal left_bytes
            message = await receive()
            if message["type"] != "http.request" or (stream.eof and not message.get("body")):
                return message
            try:
                body = await asyncio.to_thread(
                    stream.decompress, message.get("body", b""), left_bytes + 1
                )
            except zlib.error as error:
                raise _broken(f"cannot be inflated: {error}") from error
            left_bytes -= len(body)
            if left_bytes < 0:
                raise too_large(self._body_bytes)
            self._budget.take(len(body))
            held.append(len(body))
            if stream.unused_data or not (message.get("more_body", False) or stream.eof):
                raise _broken("does not end where its compressed data does")
            return {**message, "body": body}

        return inflated


def _broken(problem: str) -> GatewayError:
    return GatewayError(400, f"the body {problem}", reason="CONTENT_ENCODING")
