"""Metrics in Prometheus's format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from pipeline.serving.metrics import Metrics
from trainer.inference.speed import Speed


def test_requests_slots_and_the_sums_of_the_engine_are_reported() -> None:
    speed = Speed(generated_tokens=7, generation_s=0.5, compilation_s=2.0)
    metrics = Metrics(speed)
    metrics.observe_slots(lambda: 2, 9)
    metrics.requests.labels("/v1/models", "200").inc()
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    assert found["longreel_requests_total"] == 1
    assert (found["longreel_requests_in_progress"], found["longreel_requests_limit"]) == (2, 9)
    assert (found["longreel_engine_generated_tokens_total"], found["longreel_engine_generation_seconds_total"]) == (
        7,
        0.5,
    )
    assert found["longreel_engine_compilation_seconds_total"] == 2
    assert Metrics(speed).text()  # two servers of one process do not share counters
