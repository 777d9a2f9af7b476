"""Whether a retry is still worth it: the throttling of gRPC's own retries, for stream items.

gRPC retries calls by the service config (``client.channel``) and throttles them by gRFC A6:
a retry needs more than half of the tokens, a failure takes one, a success gives a tenth. What
goes wrong inside a stream gRPC does not see, so the same rule is kept here.
"""

from threading import Lock

MAX_TOKENS = 10
TOKEN_RATIO = 0.1


class RetryThrottle:
    """One client's tokens. Safe to share between threads."""

    def __init__(self) -> None:
        self._tokens = float(MAX_TOKENS)
        self._lock = Lock()

    def succeeded(self) -> None:
        """Record an answer."""
        with self._lock:
            self._tokens = min(MAX_TOKENS, self._tokens + TOKEN_RATIO)

    def failed(self) -> bool:
        """Record a failure; tell whether it may be retried."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > MAX_TOKENS / 2
