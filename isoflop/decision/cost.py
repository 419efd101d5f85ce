"""What a training costs: device-hours, money and days."""

from dataclasses import dataclass

from isoflop.errors import IsoflopError
from isoflop.units import require_positive

SECONDS_PER_HOUR, HOURS_PER_DAY = 3600, 24
# Beyond these a number is a slip of the keyboard.
LEAST_UTILISATION, HIGHEST_PRICE, MOST_DEVICES = 1e-3, 1e9, 10**9


@dataclass(frozen=True)
class CostRates:
    """What a device does and costs.

    Attributes:
        peak_flops_per_second: of one device, in the training's precision, without sparsity.
        utilisation: share of the peak that training FLOPs reach, from a thousandth to 1.
        price_per_device_hour: in any currency; 0 for devices that are paid for.
        n_devices: devices at work side by side.

    Raises:
        IsoflopError: a number that no device has.
    """

    peak_flops_per_second: float
    utilisation: float
    price_per_device_hour: float
    n_devices: int = 1

    def __post_init__(self) -> None:
        require_positive(self.peak_flops_per_second, "The peak of a device")
        if not LEAST_UTILISATION <= self.utilisation <= 1:
            raise IsoflopError(
                f"The utilisation is {self.utilisation:g}.",
                hint="Give the share of the peak that training reaches, from 0.001 to 1, such as 0.4.",
            )
        require_price(self.price_per_device_hour)
        if not 1 <= self.n_devices <= MOST_DEVICES:
            raise IsoflopError(
                f"The number of devices is {self.n_devices}.", hint=f"Give a whole number from 1 to {MOST_DEVICES:.0e}."
            )


def require_price(price: float) -> float:
    """`price` of one device for one hour, which is a finite number that is not negative.

    Raises:
        IsoflopError: it is none.
    """
    if not 0 <= price <= HIGHEST_PRICE:
        raise IsoflopError(
            f"The price of a device-hour is {price:g}.",
            hint="Give the price of one device for one hour, such as 2.5, or 0 for devices that are paid for.",
        )
    return price


@dataclass(frozen=True)
class TrainingCost:
    """The bill of one training: hours of one device, money in the currency of the price, days on the wall clock."""

    device_hours: float
    money: float
    days: float


def training_cost(budget_flops: float, rates: CostRates) -> TrainingCost:
    """What `budget_flops` cost at these rates, as if utilisation did not depend on the number of devices.

    Raises:
        IsoflopError: the budget is no positive number.
    """
    require_positive(budget_flops, "The budget in FLOPs")
    seconds = budget_flops / (rates.peak_flops_per_second * rates.utilisation)
    hours = seconds / SECONDS_PER_HOUR
    return TrainingCost(
        device_hours=hours,
        money=hours * rates.price_per_device_hour,
        days=hours / HOURS_PER_DAY / rates.n_devices,
    )
