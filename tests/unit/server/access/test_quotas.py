"""Rates and places of clients."""

import pytest

from server.access import quotas
from server.access.quotas import Limits, Quotas
from server.errors import QuotaError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_allows_a_second_at_once_and_then_its_pace() -> None:
    clock = Clock()
    quota = Quotas(Limits(rate_per_s=4), clock).of("shop")
    for _ in range(4):
        quota.count()
    with pytest.raises(QuotaError, match="client shop may send 4 requests a second") as refused:
        quota.count()
    assert refused.value.retry_after_s == pytest.approx(0.25)
    clock.now += 0.25
    quota.count()
    with pytest.raises(QuotaError):
        quota.count()
    clock.now += 1000
    for _ in range(4):
        quota.count()
    with pytest.raises(QuotaError):
        quota.count()


def test_slow_rates_allow_one() -> None:
    clock = Clock()
    quota = Quotas(Limits(rate_per_s=0.1), clock).of("shop")
    quota.count()
    clock.now += 9
    with pytest.raises(QuotaError):
        quota.count()
    clock.now += 1.001
    quota.count()


def test_places_are_given_back_whatever_happens() -> None:
    quota = Quotas(Limits(concurrency=1), Clock()).of("shop")
    with quota.image(), pytest.raises(QuotaError, match="1 images under way"), quota.image():
        pytest.fail("there was no place")
    with pytest.raises(RuntimeError), quota.image():
        raise RuntimeError
    with quota.image():
        pass


def test_clients_do_not_share_and_keep_their_use() -> None:
    book = Quotas(Limits(rate_per_s=1), Clock())
    book.of("a").count()
    book.of("b").count()
    with pytest.raises(QuotaError):
        book.of("a").count()
    book.of("a", Limits(rate_per_s=5)).count()  # its entry in the clients file has changed


def test_those_who_rest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "_MOST_REMEMBERED", 10)
    book = Quotas(Limits(rate_per_s=1, concurrency=1), Clock())
    book.of("busy").count()
    for number in range(100):
        book.of(f"{number}")
    assert len(book._quotas) <= 11
    with pytest.raises(QuotaError):
        book.of("busy").count()
