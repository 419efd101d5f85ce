"""Numbers and names in words, the same in every output."""

import pytest

from isoflop.wording import count, one_line, two_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (124e6, "124M"), (2.5, "2.50"), (1e-9, "1.00e-09"), (3e40, "3.00e+40")],
    ids=["none", "millions", "few", "tiny", "huge"],
)
def test_a_count_reads_well_at_any_size(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.01, "0.01"), (0.00259, "0.0026"), (3e-5, "3e-5"), (1.26e-7, "1.3e-7"), (30.0, "30")],
    ids=["none", "one digit", "rounded", "of a large model", "tiny", "absurd"],
)
def test_a_rate_or_an_error_has_its_first_two_digits_at_any_size(value: float | None, text: str) -> None:
    assert two_digits(value) == text


def test_control_characters_and_line_breaks_become_blanks() -> None:
    assert one_line("a\nb\x1b[31mc\u202ed\udc80") == "a b [31mc d "
