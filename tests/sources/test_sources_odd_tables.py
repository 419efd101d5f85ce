"""Tables of odd names, cells and options: each is read, or refused in one sentence with a hint."""

import json
import math
import random
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.columns.header import REQUIRED
from isoflop.sources.columns.loss_scale import LossUnit
from isoflop.sources.load import load_each
from tests.sources.tables import RUNS, options, write

CELLS = (
    "", "nan", "inf", "-1", "0", "1e400", "35.2M", "1,234", "1,234,567", "5%", "x", "crashed", "finished", "\x1b[31m",
    "1e-320", "9" * 50, "-2147483648", "2147483647", "2.5", "'", "é", "1 000", "  7B  ",
)  # fmt: skip
NAMES = (
    "C", "N", "D", "val_loss", "flops", "params_M", "tokens_B", "acc", "ppl", "state", "corpus", "", "a*b", "eval/loss",
    "loss_se", "trunk", "seed", "x=y", "PFLOP/s-days", "1e18", "N (M)", "tokenizer",
)  # fmt: skip
COLUMNS = (
    "n_params=params_M*1e6", "n_tokens=tokens_B*1e9", "budget_flops=6ND", "n_tokens=C/6N", "n_params=C/6D", "loss=acc",
    "loss=a*b", "n_params=2e8", "loss_se=loss*0", "budget_flops=C", "trunk=corpus", "n_tokens=n_tokens/1000*seed",
)  # fmt: skip
WHERE = ((), (), (), ("corpus=a",), ("state!=crashed",), ("N=1e8",))


def odd_table(folder: Path, draw: random.Random) -> str:
    header = [*(REQUIRED if draw.random() < 0.8 else ()), *draw.sample(NAMES, draw.randrange(6))] or ["loss"]
    draw.shuffle(header)
    rows = []
    for run in draw.sample(RUNS, draw.randrange(22)):
        known = dict(zip(REQUIRED, run, strict=True)) | dict(zip("CND", run, strict=False))
        known |= {"params_M": run[1] / 1e6, "acc": 1 - run[3] / 5, "state": "finished", "corpus": draw.choice("ab")}
        rows.append([known.get(name, "") if draw.random() < 0.99 else draw.choice(CELLS) for name in header])
    return write(folder, header, rows)


@pytest.mark.parametrize("seed", range(10))
def test_an_odd_table_is_read_or_refused_in_a_sentence(tmp_path, seed):
    draw = random.Random(seed)
    n_read = 0
    for _ in range(40):
        path = odd_table(tmp_path, draw)
        chosen = options(
            columns=draw.sample(COLUMNS, draw.choice((0, 0, 0, 1, 2))),
            where=draw.choice(WHERE),
            group=draw.choice((None, None, None, "corpus")),
            higher_is_better=draw.random() < 0.1,
            loss_unit=draw.choice((None, None, None, *LossUnit)),
            check_units=draw.random() < 0.7,
        )
        try:
            sources = load_each([path], db=Path("none.db"), sweep=None, options=chosen)
        except IsoflopError as error:
            assert error.message.strip() and error.hint.strip()
            continue
        n_read += 1
        for source in sources:
            assert source.rows and all(math.isfinite(value) for row in source.rows for value in row[:4])
            json.dumps([found.as_json() for found in source.findings], allow_nan=False)
    assert n_read >= 3
