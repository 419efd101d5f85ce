"""Quantities as people write and read them."""

import pytest

from isoflop.errors import IsoflopError
from isoflop.units import format_bytes, format_count, format_flops, format_seconds, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e18", 1e18),
        ("124M", 124e6),
        ("2.5b", 2.5e9),
        ("3.8E25", 3.8e25),
        (" 7 k ", 7e3),
        ("1e3M", 1e9),
        (".5T", 5e11),
    ],
    ids=str,
)
def test_a_quantity_is_read(text: str, value: float) -> None:
    assert parse_quantity(text, what="budget") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "abc", "-1e18", "0", "1e999", "1e18 FLOPs", "nan", "inf", "1,5"], ids=repr)
def test_what_is_no_quantity_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(IsoflopError, match="not a usable budget") as caught:
        parse_quantity(text, what="budget")
    assert repr(text) in caught.value.message
    assert "1e18" in caught.value.hint


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (850, "850"),
        (999.96, "1.00k"),
        (12_345, "12.3k"),
        (999_960, "1.00M"),
        (124e6, "124M"),
        (2.5e9, "2.50B"),
        (1.5e13, "15.0T"),
    ],
    ids=str,
)
def test_counts_have_three_digits(count: float, text: str) -> None:
    assert format_count(count) == text


def test_other_units() -> None:
    assert format_flops(3.16e11) == "3.16e11"
    assert [format_seconds(s) for s in (0.4, 59.4, 61, 3725, 90_000)] == ["0s", "59s", "1m 01s", "1h 02m", "1d 01h"]
    assert [format_bytes(n) for n in (12, 1.5e3, 2e9)] == ["12 B", "1.5 kB", "2.0 GB"]
