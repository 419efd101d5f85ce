"""The bill of a training, by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.decision.cost import CostRates, training_cost
from isoflop.errors import IsoflopError


def test_a_zettaflop_at_half_a_petaflop_per_second_takes_two_million_seconds():
    cost = training_cost(1e21, CostRates(1e15, 0.5, 2.0, n_devices=8))
    assert cost.device_hours == pytest.approx(555.5556, rel=1e-6)
    assert cost.money == pytest.approx(1111.1111, rel=1e-6)
    assert cost.days == pytest.approx(2.8935185, rel=1e-6)


def test_the_largest_llama_3_costs_about_what_its_model_card_says():
    # Llama 3.1 model card: 30.84M hours of H100 for 405B parameters; report: 3.8e25 FLOPs, 38 to 43 % of the peak.
    hours = training_cost(3.8e25, CostRates(989e12, 0.40, 0)).device_hours
    assert hours == pytest.approx(30.84e6, rel=0.15)


@settings(deadline=None, derandomize=True)
@given(budget=st.floats(1, 1e40), peak=st.floats(1e6, 1e18), share=st.floats(0.01, 1), devices=st.integers(1, 10**6))
def test_devices_share_the_days_and_not_the_bill(budget, peak, share, devices):
    one, many = (training_cost(budget, CostRates(peak, share, 3.0, n)) for n in (1, devices))
    assert (many.device_hours, many.money) == (one.device_hours, one.money)
    assert many.days * devices == pytest.approx(one.days)
    assert one.days * 24 == pytest.approx(one.device_hours)


def test_devices_that_are_paid_for_cost_nothing():
    assert training_cost(1e20, CostRates(1e14, 0.4, 0)).money == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 0.4, 2.0), "The peak of a device is 0."),
        ((float("nan"), 0.4, 2.0), "The peak of a device is nan."),
        ((1e15, 0.0, 2.0), "The utilisation is 0."),
        ((1e15, 1.01, 2.0), "The utilisation is 1.01."),
        ((1e15, float("nan"), 2.0), "The utilisation is nan."),
        ((1e15, 40, 2.0), "The utilisation is 40."),
        ((1e15, 0.4, -1.0), "The price of a device-hour is -1."),
        ((1e15, 0.4, float("inf")), "The price of a device-hour is inf."),
        ((1e15, 0.4, 2.0, 0), "The number of devices is 0."),
    ],
)
def test_rates_that_no_device_has_are_refused(values, message):
    with pytest.raises(IsoflopError) as raised:
        CostRates(*values)
    assert raised.value.message == message
    assert raised.value.hint


@pytest.mark.parametrize("budget", [0.0, -1e20, float("inf")])
def test_a_budget_is_a_positive_number(budget):
    with pytest.raises(IsoflopError, match="The budget in FLOPs is"):
        training_cost(budget, CostRates(1e15, 0.4, 2.0))
