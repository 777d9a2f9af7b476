"""ASGI middleware around everything: how much may come in at once, and what browsers may do."""

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client.web.errors import GatewayError, error_answer

# Scripts, styles, pictures and requests of this origin alone, nothing inline; blob: and data:
# for pictures because previews and thumbnails never leave the browser.
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class ByteBudget:
    """What the bodies of all uploads together may hold."""

    def __init__(self, total_bytes: int) -> None:
        self._left = total_bytes

    def take(self, size: int) -> None:
        """Take so many bytes of it.

        Raises:
            GatewayError: They are not left.
        """
        if size > self._left:
            raise _busy()
        self._left -= size

    def give_back(self, size: int) -> None:
        """Give them back."""
        self._left += size


class UploadLimits:
    """Bounds what uploads may take: how many at once, how many bytes, how long.

    Args:
        app: Served within these bounds.
        concurrent: Uploads at once.
        body_bytes: Of one body.
        body_s: Seconds that one may take to come.
        budget: Of all of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        concurrent: int,
        body_bytes: int,
        body_s: float,
        budget: ByteBudget,
    ) -> None:
        self._app = app
        self._budget = budget
        self._free = concurrent
        self._body_bytes = body_bytes
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await error_answer(refusal, scope)(scope, receive, send)
            return
        self._free -= 1
        held: list[int] = []
        try:
            await self._app(scope, self._bounded(receive, held), send)
        finally:
            self._budget.give_back(sum(held))
            self._free += 1

    def _refusal(self, headers: Headers) -> GatewayError | None:
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._body_bytes:
            return too_large(self._body_bytes)
        if self._free <= 0:
            return _busy()
        return None

    def _bounded(self, receive: Receive, held: list[int]) -> Receive:
        """Return a `receive` that raises GatewayError past a limit, and notes what it holds."""
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + self._body_s
        left_bytes = self._body_bytes
        complete = False

        async def bounded() -> Message:
            nonlocal left_bytes, complete
            if complete:  # now it only waits for the client to go away
                return await receive()
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError:
                raise GatewayError(
                    408, f"the body took longer than {self._body_s:g} s", reason="BODY_TOO_SLOW"
                ) from None
            size = len(message.get("body", b""))
            left_bytes -= size
            complete = not message.get("more_body", False)
            if left_bytes < 0:
                raise too_large(self._body_bytes)
            self._budget.take(size)
            held.append(size)
            return message

        return bounded


def _busy() -> GatewayError:
    return GatewayError(
        503, "the gateway is busy with uploads", reason="GATEWAY_BUSY", retry_after_s=1
    )


def too_large(limit_bytes: int) -> GatewayError:
    """Return the error for a body beyond a limit."""
    return GatewayError(
        413, f"the body is larger than the limit of {limit_bytes:,} bytes", reason="BODY_TOO_LARGE"
    )
