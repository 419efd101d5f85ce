"""What parsers and the system say, in words of a user."""

import errno
import json
import os
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError, why_inaccessible, why_unparsed
from isoflop.store.damage import as_written


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "runs"), "Permission denied"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "runs/a"), "Permission denied ('runs/a')"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (OSError("one text alone"), "one text alone"),
        (ValueError("embedded null byte"), "embedded null byte"),
    ],
    ids=["itself", "a file inside", "no file", "no number", "a name"],
)
def test_a_file_that_cannot_be_opened_is_named_once_and_no_number_shown(error: OSError | ValueError, said: str) -> None:
    assert why_inaccessible(error, Path("runs")) == said


@pytest.mark.parametrize(("digits", "refused"), [("1" * 4300, False), ("1" * 4301, True), ("1_1" * 2151, True)])
def test_a_number_that_python_does_not_read_is_shown_with_its_length(digits: str, *, refused: bool) -> None:
    said = why_unparsed(ValueError("a reason"), f"a = 12\nb = {digits}\n")
    shown = f"the whole number {'1' * 20}... has {digits.count('1')} digits, more than the 4300 that Python reads"
    assert said == (shown if refused else "a reason")


@pytest.mark.parametrize(
    ("text", "why"),
    [("[" * 100_000, "it is nested too deep"), ("1" * 4301, "a whole number has more digits than Python reads")],
    ids=["deep", "digits"],
)
def test_a_record_that_python_cannot_read_is_damage_in_our_words(text: str, why: str) -> None:
    with (
        pytest.raises(IsoflopError, match=rf"damaged: run 1 cannot be read \({why}\)\."),
        as_written(Path("isoflop.db"), "run 1"),
    ):
        json.loads(text)
