"""The service's metrics, for Prometheus and for Triton's statistics route."""

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int], version: Callable[[], int]):
        """Creates the metrics; the functions return the queue length and the served version."""
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        labels = ["route", "code"]
        self._requests = Counter("tfmnist_requests", "Requests answered.", labels, registry=registry)
        self._seconds = Histogram(
            "tfmnist_request_seconds", "Time to an answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._rows = Histogram("tfmnist_batch_rows", "Images computed together.", buckets=_ROWS, registry=registry)
        self._waited = Histogram("tfmnist_queue_seconds", "Time in the queue.", buckets=_SECONDS, registry=registry)
        self._computed = Histogram(
            "tfmnist_compute_seconds", "Time to compute a batch.", buckets=_SECONDS, registry=registry
        )
        queue = Gauge("tfmnist_queue_length", "Requests waiting to be computed.", registry=registry)
        queue.set_function(lambda: float(waiting()))
        served = Gauge("tfmnist_model_version", "The served version, 0 if none.", registry=registry)
        served.set_function(lambda: float(version()))
        self._inferences = {"success": [0, 0], "fail": [0, 0]}  # count, ns
        self._batches, self._computed_rows, self._last = [0, 0, 0], 0, 0  # count, ns waited, ns computed

    def observe_request(self, route: str, code: int, seconds: float, is_inference: bool) -> None:
        """Counts an answer."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)
        if is_inference:
            counts = self._inferences["success" if code < 400 else "fail"]
            counts[0] += 1
            counts[1] += int(seconds * 1e9)
            self._last = int(time.time() * 1000)

    def observe_batch(self, rows: int, waited: float, computed: float) -> None:
        """Counts a batch: its rows, the seconds its first request waited, and the seconds it took."""
        self._rows.observe(rows)
        self._waited.observe(waited)
        self._computed.observe(computed)
        self._computed_rows += rows
        for index, amount in enumerate((1, int(waited * 1e9), int(computed * 1e9))):
            self._batches[index] += amount

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Returns all metrics in a format that the scraper accepts, and the content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def statistics(self) -> dict[str, Any]:
        """Returns the model's statistics in Triton's format: counts and nanoseconds."""
        batches, waited, computed = self._batches
        durations = {name: {"count": count, "ns": ns} for name, (count, ns) in self._inferences.items()}
        durations |= {"queue": {"count": batches, "ns": waited}, "compute_infer": {"count": batches, "ns": computed}}
        durations |= {name: {"count": batches, "ns": 0} for name in ("compute_input", "compute_output")}
        return {
            "last_inference": self._last,
            "inference_count": self._computed_rows,
            "execution_count": batches,
            "inference_stats": durations,
            "batch_stats": [],
        }
