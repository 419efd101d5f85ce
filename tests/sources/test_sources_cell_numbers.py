"""Numbers in cells: suffixes and thousands where the meaning is certain, overflows named."""

import math

import pytest

from isoflop.sources.columns.cell_numbers import counts_of
from isoflop.sources.columns.header import REQUIRED
from tests.sources.tables import BASE_A, RUNS, case, exponents, load, refusal, write


@pytest.mark.parametrize("name", ["input.csv", "input-suffix.csv"])
def test_thousands_and_suffixes_give_the_clean_table_within_rounding(name):
    source = load(case(18, name))
    for row, run in zip(source.rows, RUNS, strict=True):
        assert row[:4] == pytest.approx(run, rel=2e-3 if name != "input.csv" else 0)
    assert exponents(source)[0] == pytest.approx(BASE_A, abs=1.5e-3)


@pytest.mark.parametrize(
    ("text", "ours", "value"),
    [
        ("35.2M", "n_params", 35_200_000.0),
        ("35.2 m", "n_params", 35_200_000.0),
        ("7B params", "n_params", 7e9),
        ("1.3G", "n_params", 1.3e9),
        ("12.7k", "n_params", 12_700.0),
        ("125M parameters", "n_params", 125e6),
        ("4.526B", "n_tokens", 4.526e9),
        ("1.4T tokens", "n_tokens", 1.4e12),
        ("36.1 million", "n_params", 36.1e6),
        ("1.4 Trillion tokens", "n_tokens", 1.4e12),
        ("2.2e19", "budget_flops", 2.2e19),
        ("956 PFLOPs", "budget_flops", 9.56e17),
        ("0.956E", "budget_flops", 9.56e17),
        ("22 EFLOPs", "budget_flops", 2.2e19),
        ("1.2 ZFLOP", "budget_flops", 1.2e21),
        ("2.2e19 FLOPs", "budget_flops", 2.2e19),
        ("1,234,567", "n_params", 1_234_567.0),
        ("4 526 202 432", "n_tokens", 4_526_202_432.0),
        ("4'526'202'432", "n_tokens", 4_526_202_432.0),
    ],
)
def test_what_can_mean_one_thing_alone_is_read_as_the_nearest_float(text, ours, value):
    assert counts_of([text], ours).tolist() == [value]


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("5%", "n_params"), ("35,2", "n_params"), ("12,34", "n_params"), ("1,2345,678", "n_params"),
        ("1,234", "n_params"), ("1.234.567", "n_params"), ("1_000_000", "n_params"), ("7B tokens", "n_params"),
        ("1.2P", "n_params"), ("M", "n_params"), ("35.2MB", "n_params"), ("4.5B/2", "n_tokens"), ("~35M", "n_params"),
        ("9.56E17 FLOP/s", "budget_flops"), ("three", "n_tokens"), ("", "n_tokens"),
    ],
)  # fmt: skip
def test_what_might_mean_something_else_is_no_number(text, ours):
    assert math.isnan(counts_of([text], ours)[0])


def test_one_group_of_thousands_is_read_beside_cells_with_two():
    assert counts_of(["987,935", "1,234,567"], "n_params").tolist() == [987_935.0, 1_234_567.0]


def test_a_column_may_mix_notations(tmp_path):
    notations = [str, lambda n: f"{n / 1e6:.6f}M", lambda n: f"{n:,.0f}", lambda n: f"{n:e}"]
    rows = [(c, notations[i % 4](n), d, loss) for i, (c, n, d, loss) in enumerate(RUNS)]
    read = load(write(tmp_path, REQUIRED, rows)).columns_of_fit["n_params"]
    assert read == pytest.approx([run[1] for run in RUNS], rel=1e-6)


def test_losses_are_never_scaled(tmp_path):
    for loss in ("3.2k", "1,234,567", "3M"):
        assert "loss = " in refusal(write(tmp_path, REQUIRED, [*RUNS, (*RUNS[0][:3], loss)])).message


@pytest.mark.parametrize(
    ("value", "width"),
    [(-2147483648, "32-bit"), (-1545504764, "32-bit"), (-(2**31) - 1, "64-bit"), (-(2**63), "64-bit")],
)
def test_an_overflowed_whole_number_is_called_that(tmp_path, value, width):
    refused = refusal(write(tmp_path, REQUIRED, [*RUNS, (*RUNS[0][:2], value, 3.0)]))
    assert (
        f"line 23: n_tokens = '{value}' is not a finite positive number: it looks like a {width} whole"
        in refused.message
    )
    assert "--column n_tokens=C/6N" in refused.hint


@pytest.mark.parametrize("value", ["-1", "-0.5", "-1e8", "0"])
def test_other_numbers_that_are_not_positive_are_no_overflow(tmp_path, value):
    assert "overflow" not in refusal(write(tmp_path, REQUIRED, [*RUNS, (*RUNS[0][:2], value, 3.0)])).message
