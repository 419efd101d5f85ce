import os
from pathlib import Path

import pytest

from isoflop.errors import IsoflopError
from isoflop.sources.load import load_source, load_sources
from isoflop.sources.source import Origin, Row
from tests.report_examples import LLAMA3

HEADER = "budget_flops,n_params,n_tokens,loss"
ROW = "1e18,1e8,2e9,2.5"


def load(path: Path):
    return load_source(str(path), db=path.parent / "isoflop.db", sweep=None)


def save(tmp_path: Path, *lines: str, name="runs.csv", encoding="utf-8") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(IsoflopError) as refused:
        load(path)
    assert refused.value.hint
    assert "\n" not in refused.value.message
    return refused.value.message


def test_a_published_table_is_read_whole_and_in_order():
    source = load(LLAMA3)
    assert len(source.rows) == 133
    assert source.rows[0][:4] == (6e18, 58721963.903687738, 17029403199.799999, 0.93218568594499995)
    assert (source.origin, source.label, source.param_count) == (Origin.CSV, "llama3.csv", "as_given")
    assert (source.cells, source.simulated, source.findings) == ((), False, ())


def test_columns_are_found_by_name_and_others_ignored(tmp_path):
    path = save(tmp_path, "note,loss , n_tokens,n_params,budget_flops", 'a "b",2.5,2e9,1e8,1e18')
    assert load(path).rows == (Row(1e18, 1e8, 2e9, 2.5, source="runs.csv"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, encoding):
    assert len(load(save(tmp_path, HEADER, ROW, encoding=encoding)).rows) == 1


def test_blank_lines_and_carriage_returns_are_harmless(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_bytes(f"{HEADER}\r\n{ROW}\r\n\r\n , \r\n{ROW}\r\n".encode())
    assert len(load(path).rows) == 2


def test_equal_rows_are_replicates_and_all_kept(tmp_path):
    assert len(load(save(tmp_path, HEADER, ROW, ROW)).rows) == 2


@pytest.mark.parametrize("loss", ["0", "-0.7"])
def test_a_normalised_loss_may_be_zero_or_negative(tmp_path, loss):
    assert load(save(tmp_path, HEADER, f"1e18,1e8,2e9,{loss}")).columns_of_fit["loss"] == (float(loss),)


def test_a_table_needs_no_csv_ending(tmp_path):
    assert len(load(save(tmp_path, HEADER, ROW, name="runs.txt")).rows) == 1


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_a_pipe_is_read_to_its_end(tmp_path):
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w") as pipe:
        pipe.write(f"{HEADER}\n{ROW}\n{ROW}\n")
        pipe.close()
        assert len(load(Path(f"/dev/fd/{reader}")).rows) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1e18,1e8,2e9,high", "loss = 'high' is not a finite number"),
        ('1e18,1e8,2e9,"2,5"', "loss = '2,5' is not a finite number"),
        ("0,1e8,2e9,2.5", "budget_flops = '0' is not a finite positive number"),
        ("1e18,-1e8,2e9,2.5", "n_params = '-1e8' is not a finite positive number"),
        ("1e18,1e8,1e999,2.5", "n_tokens = '1e999' is not a finite positive number"),
        ("1e18,1e8,,2.5", "n_tokens = '' is not a finite positive number"),
        ("1e18,1_000,2e9,2.5", "n_params = '1_000' is not a finite positive number"),
        ("1e18,\uff11\uff12\uff13,2e9,2.5", "n_params = '\uff11\uff12\uff13' is not a finite positive number"),
        ("1e18,True,2e9,2.5", "n_params = 'True' is not a finite positive number"),
        ("1e18,1e8,2e9," + "9" * 80, f"loss = '{'9' * 59}... is beyond ±1e+06, so it cannot be a loss per token"),
    ],
    ids=[
        "words",
        "decimal-comma",
        "zero-budget",
        "negative-size",
        "overflow",
        "no-tokens",
        "underscore",
        "wide-digits",
        "boolean",
        "endless",
    ],
)
def test_a_bad_value_is_refused_with_its_line(tmp_path, row, said):
    message = refusal(save(tmp_path, HEADER, ROW, "", row))
    assert "runs.csv', line 4: " in message
    assert said in message


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["budget_flops,n_params,seen,smoothed", ROW],
            "lacks the columns n_tokens, loss; it has budget_flops,",
        ),
        (["budget_flops,n_params,n_tokens", ROW], "lacks the column loss; it has"),
        ([f"{HEADER},loss", f"{ROW},2"], "names the column loss twice"),
        ([HEADER], "has a header but no rows"),
        (["", " "], "is empty"),
        ([HEADER, '"1e18\0'], "line 2"),
        ([HEADER, ROW, '"1e18,1e8', *[ROW] * 9000], "has a field of more than 131072 characters."),
        ([HEADER, "9" * 5001 + ",1e8,2e9,2.5"], "line 2: budget_flops = '99999"),
    ],
    ids=["renamed", "one-missing", "twice", "header-only", "blank", "null-byte", "open-quote", "digits"],
)
def test_a_malformed_table_is_refused(tmp_path, lines, said):
    assert said in refusal(save(tmp_path, *lines))


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "isoflop.db"
    path.touch()
    assert "is empty" in refusal(path)


def test_any_other_file_is_refused(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert "not a sweep file, a database" in refusal(path)
    assert "not a sweep file, a database" in refusal(save(tmp_path, "just words", name="notes.txt"))


@pytest.mark.parametrize("name", ["missing.csv", "missing.db", "missing.toml", "missing"])
def test_a_missing_file_is_refused(tmp_path, name):
    message = refusal(tmp_path / name)
    assert "There is no" in message
    assert name in message


def test_a_folder_is_refused(tmp_path):
    assert refusal(tmp_path) == f"{str(tmp_path)!r} is a folder; a source is a file."


def test_what_the_system_refuses_is_said_without_its_number(tmp_path):
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    path = tmp_path / "loop.csv"
    assert refusal(path) == f"Cannot read {str(path)!r}: Too many levels of symbolic links."


def test_a_name_with_a_null_byte_is_refused(tmp_path):
    assert "Cannot read" in refusal(tmp_path / "a\0b")


def test_a_table_has_no_sweep_to_choose(tmp_path):
    with pytest.raises(IsoflopError, match="has no sweep 'demo'"):
        load_sources([str(save(tmp_path, HEADER, ROW))], db=tmp_path / "isoflop.db", sweep="demo")


@pytest.mark.parametrize("value", ["5e-324", "1e-200", "1e101", "1e308"])
@pytest.mark.parametrize("column", ["budget_flops", "n_params", "n_tokens", "loss_se"])
def test_a_number_from_where_squares_end_is_refused_with_its_place(tmp_path, column, value):
    row = {
        "budget_flops": "1e18",
        "n_params": "1e8",
        "n_tokens": "2e9",
        "loss": "2.5",
        "loss_se": "0.01",
        column: value,
    }
    said = refusal(save(tmp_path, ",".join(row), ",".join(row.values())))
    assert f"line 2: {column} = '{value}' is not between 1e-100 and 1e+100" in said


def test_a_loss_without_error_is_no_error_of_the_table(tmp_path):
    assert load(save(tmp_path, f"{HEADER},loss_se", f"{ROW},0", f"{ROW},")).rows[0].loss_se == 0
