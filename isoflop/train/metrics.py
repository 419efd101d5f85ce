"""Bits per byte as a metric, with its standard error."""

import math
from datetime import UTC, datetime

from isoflop.probes import PROBE_VERSION
from isoflop.result import Metric
from isoflop.train.score import Floats


def bits_per_byte(nats: Floats, n_bytes: Floats) -> tuple[float, float]:
    """Bits per byte of items (n,) together, and the standard error of that ratio over items (by linearisation).

    Of one item nobody knows the spread: 0.
    """
    bits, mean_bytes = nats / math.log(2), float(n_bytes.mean())
    ratio = float(bits.sum() / n_bytes.sum())
    spread = float((bits - ratio * n_bytes).std(ddof=1)) if len(nats) > 1 else 0.0
    return ratio, spread / mean_bytes / math.sqrt(len(nats))


def in_bits(name: str, value: float, error: float, n_items: int, fingerprint: str) -> Metric:
    """The metric of that many bits per byte; `fingerprint` is of what was asked about."""
    return Metric(
        name=name,
        value=value,
        standard_error=error,
        n_items=n_items,
        unit="bits per byte",
        higher_is_better=False,
        probe_version=PROBE_VERSION,
        corpus_fingerprint=fingerprint,
        evaluated_at=now(),
    )


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
