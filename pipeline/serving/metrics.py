"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainer.inference.speed import Speed

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server."""

    def __init__(self, speed: Speed) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "longreel_requests", "Requests by path and status.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "longreel_request_seconds", "Time from request to reply.", ["path"], registry=registry, buckets=_SECONDS
        )
        self.first_token_seconds = Histogram(
            "longreel_first_token_seconds", "Time to the first tokens of a reply.", registry=registry, buckets=_SECONDS
        )
        self.prompt_tokens = Counter("longreel_prompt_tokens", "Tokens of prompts.", registry=registry)
        self.reply_tokens = Counter("longreel_reply_tokens", "Tokens of replies.", registry=registry)
        registry.register(_EngineSpeed(speed))

    def observe_slots(self, running: Callable[[], float], limit: int) -> None:
        """Report how many requests are answered or wait, and how many may."""
        Gauge("longreel_requests_in_progress", "Requests that run or wait.", registry=self._registry).set_function(
            running
        )
        Gauge("longreel_requests_limit", "Requests that may run or wait.", registry=self._registry).set(limit)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's format."""
        return generate_latest(self._registry)


class _EngineSpeed(Collector):
    """The sums of the engine."""

    def __init__(self, speed: Speed) -> None:
        self._speed = speed

    def collect(self) -> list[Metric]:
        """Return the current values."""
        speed = self._speed
        return [
            CounterMetricFamily("longreel_engine_prompt_tokens", "Prompt tokens that were run.", speed.prompt_tokens),
            CounterMetricFamily("longreel_engine_prompt_seconds", "Seconds of running prompts.", speed.prompt_s),
            CounterMetricFamily(
                "longreel_engine_reused_tokens", "Prompt tokens whose keys and values were kept.", speed.reused_tokens
            ),
            CounterMetricFamily("longreel_engine_generated_tokens", "Tokens generated.", speed.generated_tokens),
            CounterMetricFamily("longreel_engine_generation_seconds", "Seconds of generating.", speed.generation_s),
            CounterMetricFamily("longreel_engine_compilation_seconds", "Seconds of compiling.", speed.compilation_s),
            GaugeMetricFamily("longreel_engine_cache_bytes", "Bytes of keys and values.", speed.cache_bytes),
        ]
