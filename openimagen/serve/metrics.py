"""What Prometheus may ask: counts and times, none of whom or what was drawn."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from openimagen.serve.engine import State

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)


class Metrics:
    """One server's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "openimagen_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "openimagen_request_seconds",
            "Time from a request's headers to its answer's end.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )

    def watch(self, state: Callable[[], "State"]) -> None:
        """Ask the engine for its state at every scrape."""
        self.registry.register(EngineMetrics(state))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)


class EngineMetrics(Collector):
    """The engine's own counts."""

    def __init__(self, state: Callable[[], "State"]) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        """What it counts now."""
        now = self.state()
        for name, value, words in (
            ("waiting", now.waiting, "Pictures in the queue."),
            ("running", now.running, "Pictures being drawn."),
        ):
            yield GaugeMetricFamily(f"openimagen_engine_{name}", words, value=value)
        for name, label, counts, words in (
            ("ends", "end", now.ends, "Pictures by how they left the engine."),
            ("batches", "pictures", now.batches, "Batches by their size."),
            ("stage_pictures", "stage", now.stages, "Pictures that went through a stage."),
            ("stage_seconds", "stage", now.seconds, "Seconds that workers spent in a stage."),
        ):
            family = CounterMetricFamily(f"openimagen_engine_{name}", words, labels=[label])
            for key, count in sorted(counts.items()):
                family.add_metric([str(key)], count)
            yield family
