"""What is counted, and how often."""

from tfmnist.serving.metrics import Metrics


def test_requests_and_batches_are_counted() -> None:
    metrics = Metrics(lambda: 7, lambda: 3)
    metrics.observe_request("/a", 200, 0.5, True)
    metrics.observe_request("/a", 503, 0.25, True)
    metrics.observe_request("/b", 200, 1, False)
    metrics.observe_batch(40, 0.001, 0.002)
    text, kind = metrics.expose("")
    lines = text.decode().splitlines()
    assert kind.startswith("text/plain")
    assert 'tfmnist_requests_total{code="503",route="/a"} 1.0' in lines
    assert 'tfmnist_request_seconds_sum{route="/a"} 0.75' in lines
    assert 'tfmnist_batch_rows_bucket{le="32.0"} 0.0' in lines and 'tfmnist_batch_rows_bucket{le="64.0"} 1.0' in lines
    assert "tfmnist_queue_length 7.0" in lines and "tfmnist_model_version 3.0" in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)
    statistics = metrics.statistics()
    assert statistics["inference_count"] == 40 and statistics["execution_count"] == 1
    assert statistics["inference_stats"]["success"] == {"count": 1, "ns": 500_000_000}
    assert statistics["inference_stats"]["fail"] == {"count": 1, "ns": 250_000_000}
    assert statistics["inference_stats"]["queue"] == {"count": 1, "ns": 1_000_000}
    assert Metrics(lambda: 0, lambda: 0).statistics()["inference_count"] == 0  # each has a registry of its own
