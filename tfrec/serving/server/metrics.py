"""What a server counts and times, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one server, in a registry of its own. No label holds what a client may choose freely."""

    def __init__(self) -> None:
        """Register all of them."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tfrec_requests",
            "Requests answered, by code.",
            ["protocol", "method", "model", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tfrec_request_seconds",
            "From the whole request to its answer.",
            ["protocol", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._rows = Histogram("tfrec_run_rows", "Rows computed together.", buckets=_ROWS, registry=self._registry)
        self._pending = Gauge("tfrec_pending_requests", "Requests that wait or run.", registry=self._registry)
        self._versions = Gauge(
            "tfrec_version", "1 for each version that answers.", ["model", "version", "labels"], registry=self._registry
        )
        self._loads = Counter("tfrec_loads", "Versions loaded, or not.", ["model", "result"], registry=self._registry)

    def request(self, protocol: str, method: str, model: str, code: str, seconds: float) -> None:
        """Count one answer; `model` is "" where there is no such model."""
        self._requests.labels(protocol, method, model, code).inc()
        self._seconds.labels(protocol, method).observe(seconds)

    def run(self, rows: int) -> None:
        """Count the rows of one run."""
        self._rows.observe(rows)

    def watch_pending(self, count: Callable[[], int]) -> None:
        """Read the length of the queue when asked."""
        self._pending.set_function(count)

    def load(self, model: str, result: str) -> None:
        """Count a version that was `loaded`, or `failed`."""
        self._loads.labels(model, result).inc()

    def versions(self, held: Mapping[str, tuple[Sequence[int], Mapping[str, int]]]) -> None:
        """Say which versions answer; model -> (versions, label -> version)."""
        self._versions.clear()
        for model, (numbers, labels) in held.items():
            for number in numbers:
                named = ",".join(sorted(label for label, target in labels.items() if target == number))
                self._versions.labels(model, str(number), named).set(1)

    def page(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self._registry)
