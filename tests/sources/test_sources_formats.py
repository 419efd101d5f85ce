"""The same runs as CSV, JSON lines and Parquet are the same rows."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from isoflop.errors import IsoflopError
from isoflop.sources.load import load_source
from isoflop.sources.source import Origin, Row

ROW = {"budget_flops": 1e18, "n_params": 10**8, "n_tokens": 2e9, "loss": 2.5}
KNOWN = {**ROW, "loss_se": 0.01, "trunk": "long", "seed": 3, "tokenizer": "byte", "param_count": "total"}


def load(path: Path):
    return load_source(str(path), db=path.parent / "isoflop.db", sweep=None)


def save_csv(folder: Path, rows) -> Path:
    header = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join("" if row.get(key) is None else str(row[key]) for key in header) for row in rows]
    (folder / "runs.csv").write_text("\n".join([",".join(header), *lines]) + "\n")
    return folder / "runs.csv"


def save_jsonl(folder: Path, rows, *, name="runs.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder / name


def save_parquet(folder: Path, rows) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), folder / "runs.parquet")
    return folder / "runs.parquet"


SAVES = {"csv": save_csv, "jsonl": save_jsonl, "parquet": save_parquet}


def refusal(path: Path) -> IsoflopError:
    with pytest.raises(IsoflopError) as refused:
        load(path)
    assert refused.value.hint and "\n" not in refused.value.message
    return refused.value


@pytest.mark.parametrize("kind", SAVES)
def test_every_format_holds_the_same_rows(tmp_path, kind):
    source = load(SAVES[kind](tmp_path, [KNOWN, {**ROW, "loss": 2.25, "trunk": None}]))
    assert source.rows == (
        Row(1e18, 1e8, 2e9, 2.5, loss_se=0.01, trunk="long", seed="3", source=f"runs.{kind}"),
        Row(1e18, 1e8, 2e9, 2.25, source=f"runs.{kind}"),
    )
    assert (source.origin, source.param_count) == (Origin(kind), "as_given")
    assert (source.tokenizers, source.param_counts) == (("byte",), ("total",))


@pytest.mark.parametrize("kind", SAVES)
def test_a_bad_value_is_named_with_its_place_in_every_format(tmp_path, kind):
    rows = [ROW, {**ROW, "n_params": -1.0, "loss": 3e6}, {**ROW, "budget_flops": 0.0}]
    place = {
        "csv": "line 3: n_params = '-1.0'",
        "jsonl": "line 2: n_params = -1.0",
        "parquet": "row 2: n_params = -1.0",
    }
    message = refusal(SAVES[kind](tmp_path, rows)).message
    assert message.endswith(f"runs.{kind}', {place[kind]} is not a finite positive number.")


@pytest.mark.parametrize("kind", SAVES)
def test_a_missing_value_is_an_error_where_it_is_needed(tmp_path, kind):
    message = refusal(SAVES[kind](tmp_path, [ROW, {**ROW, "n_params": None}])).message
    assert f"n_params = {chr(39) * 2 if kind == 'csv' else 'null'} is not a finite positive number" in message


@pytest.mark.parametrize("kind", SAVES)
def test_a_missing_column_is_refused_alike(tmp_path, kind):
    rows = [{key: value for key, value in ROW.items() if key != "loss"}]
    message = refusal(SAVES[kind](tmp_path, rows)).message
    assert "lacks the column loss; it has budget_flops, n_params, n_tokens." in message


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), ([2.5], "[2.5]"), ("2_5", "'2_5'")],
    ids=["boolean", "list", "underscore"],
)
def test_what_json_holds_besides_numbers_is_no_loss(tmp_path, value, shown):
    message = refusal(save_jsonl(tmp_path, [{**ROW, "loss": value}])).message
    assert f"line 1: loss = {shown} is not a finite number" in message


def test_numbers_that_no_float_holds_are_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps(ROW).replace("2.5", "1" + "0" * 400) + "\n")
    assert "line 1: loss = " in refusal(path).message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2, is not JSON: "),
        ("[1, 2]", "line 2, is not a JSON object."),
        ('{"loss": 1, "loss": 2}', "line 2, is not JSON: it names 'loss' twice"),
        ('{"loss": ' + "[" * 100_000, "line 2, is not JSON: it is nested too deep."),
        (
            '{"n_params": 12.5, "n_tokens": 9' + "8" * 5000 + "}",
            "line 2, is not JSON: the whole number 98888888888888888888... has 5001 digits, more than the 4300 that",
        ),
        ('{"loss": 1.' + "1" * 5000 + ', "loss": 2}', "line 2, is not JSON: it names 'loss' twice"),
    ],
    ids=["cut off", "a list", "a key twice", "deep", "endless", "a key twice beside many digits"],
)
def test_a_line_that_is_no_object_is_refused_with_its_number(tmp_path, line, said):
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{json.dumps(ROW)}\n{line}\n")
    assert said in refusal(path).message


def test_json_lines_are_known_by_their_first_character_and_blank_lines_are_none(tmp_path):
    path = tmp_path / "runs.txt"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + json.dumps({**ROW, "note": "a\u2028b"}).encode() + b"\r\n\n \n")
    assert [point.loss for point in load(path).rows] == [2.5]


@pytest.mark.parametrize("name", ["runs.ndjson", "runs.JSONL"])
def test_a_table_called_json_lines_is_read_as_such(tmp_path, name):
    path = tmp_path / name
    path.write_text("loss\n")
    assert "line 1, is not JSON" in refusal(path).message


@pytest.mark.parametrize("value", [None, "", " ", "nan", float("nan")], ids=["null", "empty", "blank", "text", "nan"])
def test_an_optional_value_may_be_missing(tmp_path, value):
    rows = [{**KNOWN, **dict.fromkeys(["loss_se", "trunk", "seed", "tokenizer", "param_count"], value)}]
    source = load(save_jsonl(tmp_path, rows))
    assert source.rows == (Row(1e18, 1e8, 2e9, 2.5, source="runs.jsonl"),)
    assert (source.tokenizers, source.param_counts) == ((), ())


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("loss_se", -0.1, "loss_se = -0.1 is not a finite number of at least 0"),
        ("loss_se", "small", "loss_se = 'small' is not a finite number of at least 0"),
        ("trunk", True, "trunk = true is neither text nor a number"),
        ("tokenizer", ["byte"], 'tokenizer = ["byte"] is neither text nor a number'),
    ],
    ids=["negative error", "words as error", "boolean trunk", "list of tokenizers"],
)
def test_a_bad_optional_value_is_refused(tmp_path, column, value, said):
    assert f"line 2: {said}" in refusal(save_jsonl(tmp_path, [KNOWN, {**KNOWN, column: value}])).message


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (3.0, "3"), (0.5, "0.5"), ("3", "3")])
def test_a_trunk_may_be_a_number(tmp_path, value, text):
    assert load(save_jsonl(tmp_path, [{**ROW, "trunk": value}])).rows[0].trunk == text


def test_parquet_columns_of_every_kind_of_number_are_read(tmp_path):
    columns = {
        "budget_flops": pa.array([10**18], pa.uint64()),
        "n_params": pa.array([10**8], pa.int32()),
        "n_tokens": pa.array([Decimal("2000000000.5")]),
        "loss": pa.array([2.5], pa.float32()),
        "tokenizer": pa.array(["byte"]).dictionary_encode(),
    }
    parquet.write_table(pa.table(columns), tmp_path / "runs.parquet")
    source = load(tmp_path / "runs.parquet")
    assert source.rows == (Row(1e18, 1e8, 2000000000.5, 2.5, source="runs.parquet"),)
    assert source.tokenizers == ("byte",)


def test_a_parquet_file_may_have_any_name_and_a_damaged_one_is_refused(tmp_path):
    content = save_parquet(tmp_path, [ROW]).read_bytes()
    (tmp_path / "table").write_bytes(content)
    assert load(tmp_path / "table").origin is Origin.PARQUET
    (tmp_path / "table").write_bytes(content[: len(content) // 2])
    said = "cannot be read as Parquet: its last 4 bytes are not PAR1: it was cut off or altered."
    assert refusal(tmp_path / "table").message == f"{str(tmp_path / 'table')!r} {said}"


def test_a_parquet_table_without_rows_or_with_a_column_twice_is_refused(tmp_path):
    table = pa.table({name: pa.array([], pa.float64()) for name in ROW})
    parquet.write_table(table, tmp_path / "runs.parquet")
    assert "has a header but no rows" in refusal(tmp_path / "runs.parquet").message
    parquet.write_table(table.append_column("loss", pa.array([], pa.float64())), tmp_path / "runs.parquet")
    assert "names the column loss twice" in refusal(tmp_path / "runs.parquet").message


@pytest.mark.slow
def test_without_pyarrow_a_parquet_file_says_what_to_install(tmp_path):
    path = save_parquet(tmp_path, [ROW])
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from isoflop.__main__ import main\n"
        "sys.argv = ['isoflop', 'fit', 'runs.parquet']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: 'runs.parquet' is a Parquet file, and pyarrow, which reads such files, is not installed.",
        "Hint: `pip install 'isoflop[parquet]'`, or give the table as CSV or JSON lines.",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SAVES)
def test_a_hundred_thousand_rows_are_read_in_seconds(tmp_path, kind):
    rows = [{**KNOWN, "n_params": 1e7 + index} for index in range(100_000)]
    path = SAVES[kind](tmp_path, rows)
    code = (
        "import sys, time; from pathlib import Path; from isoflop.sources.load import load_source\n"
        "start = time.process_time(); source = load_source(sys.argv[1], db=Path('x'), sweep=None)\n"
        "print(len(source.rows), time.process_time() - start)"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    number, seconds = done.stdout.split()
    assert int(number) == 100_000
    assert float(seconds) < 3
