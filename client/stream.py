"""The blocking side of ClassifyStream: feeds from gRPC's thread, lands in the caller's."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Generic, Protocol, TypeVar

import grpc

from client.errors import ClientError
from client.images import ImageSource, image_content
from client.messages import item_classification, with_image
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


class AnswerStream(Protocol):
    """What the client needs of gRPC's call object, whose own type is not public."""

    def __iter__(self) -> Iterator[classify_pb2.ClassifyStreamResponse]:
        """Wait for the answers."""

    def cancel(self) -> object:
        """Give the call up."""


StreamMethod = Callable[[Iterator[classify_pb2.ClassifyStreamRequest]], AnswerStream]
Classify = Callable[[classify_pb2.ClassifyRequest, float | None], Classification]


class ImageStream(Generic[K]):
    """One run of ``Client.classify_many``."""

    def __init__(self, plan: StreamPlan, method: StreamMethod, classify: Classify) -> None:
        self._plan = plan
        self._method = method
        self._classify = classify
        self._events: SimpleQueue[Departed[K] | Refused[K] | Answered | Fed | Ended] = SimpleQueue()
        self._slots = Semaphore(plan.window)
        self._closed = False

    def outcomes(self, items: Iterable[tuple[K, ImageSource]]) -> Generator[Outcome[K], None, None]:
        """Yield the outcome of every item. The call opens with the first readable image."""
        prepared = self._prepare(items)
        for item in prepared:
            if isinstance(item, Ready):
                yield from self._run(item, prepared)
                return
            yield item.outcome

    def _prepare(self, items: Iterable[tuple[K, ImageSource]]) -> Iterator[Ready[K] | Refused[K]]:
        for sequence, (key, source) in enumerate(items):
            ticket = self._plan.ticket(sequence, key, source)
            try:
                request = self._request(ticket)
            except ClientError as error:
                yield Refused(ticket, error)
            else:
                yield Ready(ticket, request)

    def _request(self, ticket: Ticket[K]) -> classify_pb2.ClassifyRequest:
        image = image_content(ticket.source)
        return with_image(self._plan.template, image, ticket.request_id)

    def _run(
        self, first: Ready[K], rest: Iterator[Ready[K] | Refused[K]]
    ) -> Generator[Outcome[K], None, None]:
        self._slots.acquire()
        call = self._method(self._feed(first, rest))
        reader = Thread(target=self._read, args=(call,), name="classify-stream", daemon=True)
        reader.start()
        try:
            yield from self._land(Ledger(self._plan, first.ticket.sequence))
        finally:
            self._closed = True
            call.cancel()
            self._slots.release()  # wakes the feeding end, which then sees that it is over
            reader.join()
            # A call's finalizer waits for a thread of gRPC's, which runs no more once the
            # interpreter ends: an error's traceback, which may live so long, must not hold it.
            del call

    def _feed(
        self, first: Ready[K], rest: Iterator[Ready[K] | Refused[K]]
    ) -> Iterator[classify_pb2.ClassifyStreamRequest]:
        """Yield the requests. Runs in gRPC's thread, which asks for the next one when the
        last is on its way; nobody there would see an exception, so it becomes an event."""
        try:
            yield self._depart(first)
            while self._take_slot() and (item := next(rest, None)) is not None:
                if isinstance(item, Ready):
                    yield self._depart(item)
                else:
                    self._events.put(item)
            self._events.put(Fed())
        except Exception as error:
            self._events.put(Ended(error))

    def _take_slot(self) -> bool:
        self._slots.acquire()
        return not self._closed

    def _depart(self, item: Ready[K]) -> classify_pb2.ClassifyStreamRequest:
        self._events.put(Departed(item.ticket, time.monotonic()))
        return classify_pb2.ClassifyStreamRequest(request=item.request)

    def _read(self, call: AnswerStream) -> None:
        """Turn answers into events. Runs in a thread of its own."""
        try:
            for response in call:
                self._events.put(Answered(response.result))
        except grpc.RpcError as error:
            self._events.put(Ended(from_rpc_error(error, self._plan.address, None)))
            error.__traceback__ = None  # the error is the call: or it would hold itself
        else:
            self._events.put(Ended())

    def _land(self, ledger: Ledger[K]) -> Generator[Outcome[K], None, None]:
        while not ledger.finished:
            for outcome in self._next_outcomes(ledger):
                self._slots.release()
                yield outcome

    def _next_outcomes(self, ledger: Ledger[K]) -> list[Outcome[K]]:
        try:
            event = self._events.get(timeout=ledger.patience_s())
        except Empty:
            return ledger.apply(Overdue())
        if not isinstance(event, Answered):
            return ledger.apply(event)
        departed = ledger.take(event.result.request_id)
        if departed is None:
            return []
        return ledger.settle(departed.ticket, self._outcome(departed, event))

    def _outcome(self, departed: Departed[K], event: Answered) -> Outcome[K]:
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
        return self._send_again(ticket, delay_s)

    def _send_again(self, ticket: Ticket[K], delay_s: float) -> Outcome[K]:
        """Send a refused item by itself. The stream waits meanwhile: the server is busy."""
        time.sleep(delay_s)
        try:
            return Outcome(ticket.key, self._classify(self._request(ticket), self._plan.timeout_s))
        except ClientError as error:
            return Outcome(ticket.key, error=error)
