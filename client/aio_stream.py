"""The asyncio side of ClassifyStream: one task feeds, one reads, the caller's task lands."""

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
)
from contextlib import aclosing
from typing import Generic, TypeVar

import grpc

from client.aio_ending import Ending
from client.errors import ClientError
from client.images import ImageSource, image_content
from client.messages import item_classification, with_image
from client.pixels import Pixels
from client.results import Classification, Outcome
from client.status import from_rpc_error
from client.streaming import (
    Answered,
    Departed,
    Ended,
    Fed,
    Ledger,
    Overdue,
    Ready,
    Refused,
    StreamPlan,
    Ticket,
    retry_delay_s,
)
from proto.classify.v1 import classify_pb2

K = TypeVar("K")

AsyncItems = Iterable[tuple[K, ImageSource]] | AsyncIterable[tuple[K, ImageSource]]
_StreamRequest = classify_pb2.ClassifyStreamRequest
_StreamResponse = classify_pb2.ClassifyStreamResponse
AsyncStreamMethod = Callable[[], "grpc.aio.StreamStreamCall[_StreamRequest, _StreamResponse]"]
AsyncClassify = Callable[[classify_pb2.ClassifyRequest, float | None], Awaitable[Classification]]


async def async_image_content(source: ImageSource) -> bytes | Pixels:
    """Return the encoded image or its pixels; files are read in a thread, so that the loop goes on.

    Raises:
        ImageFileError: It cannot be read, is an empty file, or is too large.
    """
    if isinstance(source, bytes):
        return image_content(source)
    return await asyncio.to_thread(image_content, source)


class AsyncImageStream(Generic[K]):
    """One run of ``AsyncClient.classify_many``."""

    def __init__(
        self, plan: StreamPlan, method: AsyncStreamMethod, classify: AsyncClassify
    ) -> None:
        self._plan = plan
        self._method = method
        self._classify = classify
        self._events: asyncio.Queue[Departed[K] | Refused[K] | Answered | Fed | Ended] = (
            asyncio.Queue()
        )
        self._slots = asyncio.Semaphore(plan.window)

    async def outcomes(self, items: AsyncItems[K]) -> AsyncGenerator[Outcome[K], None]:
        """Yield the outcome of every item. The call opens with the first readable image."""
        async with aclosing(self._prepare(items)) as prepared:
            async for item in prepared:
                if isinstance(item, Ready):
                    async with aclosing(self._run(item, prepared)) as outcomes:
                        async for outcome in outcomes:
                            yield outcome
                    return
                yield item.outcome

    async def _prepare(self, items: AsyncItems[K]) -> AsyncGenerator[Ready[K] | Refused[K], None]:
        sequence = 0
        async for key, source in each(items):
            ticket = self._plan.ticket(sequence, key, source)
            sequence += 1
            try:
                request = await self._request(ticket)
            except ClientError as error:
                yield Refused(ticket, error)
            else:
                yield Ready(ticket, request)

    async def _request(self, ticket: Ticket[K]) -> classify_pb2.ClassifyRequest:
        image = await async_image_content(ticket.source)
        return with_image(self._plan.template, image, ticket.request_id)

    async def _run(
        self, first: Ready[K], rest: AsyncIterator[Ready[K] | Refused[K]]
    ) -> AsyncGenerator[Outcome[K], None]:
        await self._slots.acquire()
        call = self._method()
        tasks = (
            asyncio.create_task(self._feed(call, first, rest)),
            asyncio.create_task(self._read(call, Ending(call))),
        )
        try:
            ledger: Ledger[K] = Ledger(self._plan, first.ticket.sequence)
            while not ledger.finished:
                for outcome in await self._next_outcomes(ledger):
                    self._slots.release()
                    yield outcome
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _feed(
        self,
        call: "grpc.aio.StreamStreamCall[_StreamRequest, _StreamResponse]",
        first: Ready[K],
        rest: AsyncIterator[Ready[K] | Refused[K]],
    ) -> None:
        """Send the requests. What the caller's items raise becomes an event; what the call
        raises is left to the reading task, which sees the same."""
        try:
            await self._send(call, first)
            while await self._slots.acquire() and (item := await anext(rest, None)) is not None:
                if isinstance(item, Ready):
                    await self._send(call, item)
                else:
                    self._events.put_nowait(item)
            self._events.put_nowait(Fed())
            await call.done_writing()
        except _CallOverError:
            return
        except Exception as error:
            self._events.put_nowait(Ended(error))

    async def _send(
        self, call: "grpc.aio.StreamStreamCall[_StreamRequest, _StreamResponse]", item: Ready[K]
    ) -> None:
        self._events.put_nowait(Departed(item.ticket, time.monotonic()))
        try:
            await call.write(classify_pb2.ClassifyStreamRequest(request=item.request))
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise _CallOverError from error

    async def _read(
        self,
        call: "grpc.aio.StreamStreamCall[_StreamRequest, _StreamResponse]",
        ending: Ending,
    ) -> None:
        """Turn answers into events."""
        try:
            async for response in call:
                self._events.put_nowait(Answered(response.result))
        except grpc.RpcError as error:
            status = await ending.error(error)
            ended = status and from_rpc_error(status, self._plan.address, None)
            self._events.put_nowait(Ended(ended))
        else:
            self._events.put_nowait(Ended())

    async def _next_outcomes(self, ledger: Ledger[K]) -> list[Outcome[K]]:
        try:
            event = await self._next_event(ledger.patience_s())
        except TimeoutError:
            return ledger.apply(Overdue())
        if not isinstance(event, Answered):
            return ledger.apply(event)
        departed = ledger.take(event.result.request_id)
        if departed is None:
            return []
        return ledger.settle(departed.ticket, await self._outcome(departed, event))

    async def _next_event(
        self, patience_s: float | None
    ) -> Departed[K] | Refused[K] | Answered | Fed | Ended:
        """Return the next event; one that is there already needs no patience."""
        if not self._events.empty():
            return self._events.get_nowait()
        async with asyncio.timeout(patience_s):
            return await self._events.get()

    async def _outcome(self, departed: Departed[K], event: Answered) -> Outcome[K]:
        ticket = departed.ticket
        try:
            answer = item_classification(event.result)
        except ClientError as error:
            delay_s = retry_delay_s(error, self._plan)
            if delay_s is None:
                return Outcome(ticket.key, error=error)
        else:
            self._plan.throttle.succeeded()
            return Outcome(ticket.key, answer, round_trip_us=event.round_trip_us(departed))
        return await self._send_again(ticket, delay_s)

    async def _send_again(self, ticket: Ticket[K], delay_s: float) -> Outcome[K]:
        """Send a refused item by itself. The stream waits meanwhile: the server is busy."""
        await asyncio.sleep(delay_s)
        try:
            request = await self._request(ticket)
            return Outcome(ticket.key, await self._classify(request, self._plan.timeout_s))
        except ClientError as error:
            return Outcome(ticket.key, error=error)


class _CallOverError(Exception):
    """The call ended while something was being sent."""


async def each(items: AsyncItems[K]) -> AsyncIterator[tuple[K, ImageSource]]:
    """Yield the items, whichever kind of iterable they are in."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
