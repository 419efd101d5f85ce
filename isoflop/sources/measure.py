"""What of a sweep's runs is fitted: the held-out loss in nats or in bits per byte, or a metric of their models."""

from dataclasses import dataclass

from isoflop.sources.columns.loss_scale import LossScale
from isoflop.store import RunCell

_ACCURACY, _BITS = "_accuracy", "_bits_per_byte"
BITS_PER_BYTE = "bits per byte"


@dataclass(frozen=True)
class Measure:
    """The number of a run that takes the place of a loss.

    Attributes:
        metric: the metric's name; None for the held-out loss.
        per_byte: whether the held-out loss is in bits per byte.
    """

    metric: str | None = None
    per_byte: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Whether it is an accuracy: of that the complement is fitted."""
        return self.metric is not None and self.metric.endswith(_ACCURACY)

    @property
    def scale(self) -> LossScale:
        """What the fitted numbers are."""
        if self.metric is None:
            return LossScale("loss", BITS_PER_BYTE if self.per_byte else "nats per token")
        if self.higher_is_better:
            return LossScale(f"1 - {self.metric}", None, f"1 - {self.metric}")
        return LossScale(f"{self.metric.removesuffix(_BITS).replace('_', ' ')} loss", BITS_PER_BYTE)

    def of(self, cell: RunCell) -> tuple[float, float | None] | None:
        """The number of a completed run and its standard error; None where the run does not have it."""
        if cell.completed is None:
            return None
        if self.metric is not None:
            metric = cell.metrics.get(self.metric)
            if metric is None:
                return None
            return (1 - metric.value if self.higher_is_better else metric.value), metric.standard_error
        nats, error, bits = cell.completed.val_loss, cell.completed.val_loss_se, cell.completed.bits_per_byte
        if not self.per_byte:
            return nats, error
        return None if bits is None else (bits, None if error is None else error * bits / nats)


IN_NATS = Measure()
"""The held-out loss in nats per token."""
