"""Runs that a fit leaves out are named as the reader knows them: by line, by number, by run id."""

import csv
import json
import math
from pathlib import Path

from isoflop.fit.question import Question
from isoflop.report.summary import summarize
from isoflop.sources.columns.conditions import parse_where
from isoflop.sources.load import AS_THEY_ARE, load_sources
from isoflop.sources.source import fit_source
from isoflop.sources.table_options import TableOptions
from tests.report_examples import grid, make_result, save_sweep

LADDER = Path(__file__).parents[1] / "data" / "cases" / "03-ladder-with-one-diverged-run" / "input.csv"
BAD_LINE = 18


def outliers(*sources, options=AS_THEY_ARE):
    source = load_sources(list(map(str, sources)), db=Path("none.db"), sweep=None, options=options)
    found = summarize(source, fit_source(source, Question()), generated_at="2026-01-01T00:00:00+00:00").findings
    return next(one for one in found if one.code == "outliers")


def test_the_diverged_run_of_a_table_is_named_by_its_line():
    found = outliers(LADDER)
    assert LADDER.read_text().splitlines()[BAD_LINE - 1].endswith(",10.39")
    assert found.message.endswith(f"Left out: line {BAD_LINE}.")
    assert found.values["places"] == [f"line {BAD_LINE}"]


def test_rows_of_a_json_list_are_counted_in_rows(tmp_path):
    rows = list(csv.DictReader(LADDER.read_text().splitlines()))
    (tmp_path / "runs.json").write_text(json.dumps([{key: float(value) for key, value in row.items()} for row in rows]))
    assert outliers(tmp_path / "runs.json").message.endswith(f"Left out: row {BAD_LINE - 1}.")


def test_rows_that_where_leaves_out_still_count_as_lines(tmp_path):
    header, *rows = LADDER.read_text().splitlines()
    (tmp_path / "runs.csv").write_text(
        "\n".join([f"{header},kind", *(f"{row},other" for row in rows[:3]), *(f"{row},this" for row in rows)])
    )
    found = outliers(tmp_path / "runs.csv", options=TableOptions(where=parse_where(["kind=this"])))
    assert found.values["places"] == [f"line {BAD_LINE + 3}"]


def test_of_several_sources_the_one_is_named(tmp_path):
    other = tmp_path / "more.csv"
    other.write_text("\n".join(LADDER.read_text().splitlines()[:5]).replace("e+16,", "1e+16,"))
    assert outliers(f"first={other}", f"second={LADDER}").message.endswith(f"Left out: line {BAD_LINE} of second.")


def test_runs_of_a_sweep_are_named_by_their_ids(tmp_path):
    cells = grid(1e12, 4e12, 16e12)
    results = [make_result(cell) for cell in cells]
    noisy = [result.val_loss + 1e-4 * math.sin(7.0 * at) for at, result in enumerate(results)]
    bad = len(cells) // 2
    noisy[bad] += 0.5
    results = [make_result(cell, val_loss=loss) for cell, loss in zip(cells, noisy, strict=True)]
    save_sweep(tmp_path / "isoflop.db", cells, results)
    assert outliers(tmp_path / "isoflop.db").message.endswith(f"Left out: run {cells[bad].run.run_id}.")
