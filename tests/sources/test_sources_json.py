"""JSON that is not one object per line: lists, runs by name, columns, what pandas and wandb write."""

import json

import pytest

from isoflop.sources.table.formats import read_table
from tests.field_cases import COLUMNS, OBJECTS, ROWS, load, notes, refusal, rows, save

DUMPS = {
    "one line": json.dumps,
    "indented": lambda value: json.dumps(value, indent=2),
    "tabs": lambda value: json.dumps(value, indent="\t"),
    "windows": lambda value: json.dumps(value, indent=1).replace("\n", "\r\n"),
}


def by_column(keys):
    return {column: dict(zip(keys, [row[column] for row in OBJECTS], strict=True)) for column in COLUMNS}


def nested(row):
    return {
        "_id": "a1",
        "config": {"n_params": row["n_params"], "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]}},
        "summary": {"loss": row["loss"], "n_tokens": row["n_tokens"], "_wandb": {}},
        "budget_flops": row["budget_flops"],
    }


NUMBERS = [str(index) for index in range(len(OBJECTS))]
NAMES = [f"run-{index:02}" for index in range(len(OBJECTS))]
LISTS = {column: [row[column] for row in OBJECTS] for column in COLUMNS}
DATA = [list(row.values()) for row in OBJECTS]
SHAPES = {
    "a list": OBJECTS,
    "runs by name": dict(zip(NAMES, OBJECTS, strict=True)),
    "runs by number": dict(zip(NUMBERS, OBJECTS, strict=True)),
    "lists": LISTS,
    "columns by number": by_column(NUMBERS),
    "columns by name": by_column(NAMES),
    "split": {"columns": list(COLUMNS), "index": list(range(len(DATA))), "data": DATA},
    "table": {
        "schema": {
            "fields": [{"name": "index", "type": "integer"}],
            "primaryKey": ["index"],
            "pandas_version": "1.4.0",
        },
        "data": [{"index": index, **row} for index, row in enumerate(OBJECTS)],
    },
    "a key": {"runs": OBJECTS},
    "a key, by name": {"runs": dict(zip(NAMES, OBJECTS, strict=True))},
    "a key, lists": {"results": LISTS},
    "keys in keys": {"sweep": {"runs": OBJECTS}},
    "a key beside others": {"name": "sweep", "date": None, "seeds": [1, 2, 3], "config": {"lr": 1e-3}, "runs": OBJECTS},
    "a key beside another table": {"models": [{"name": "a"}], "by": {"a": {"b": 1}}, "runs": OBJECTS},
    "a key beside a config": {"config": {"lr": 1e-3}, "runs": dict(zip(NAMES, OBJECTS, strict=True))},
    "lists after a list of names": [list(COLUMNS), *DATA],
    "lists by budget": {f"{c:g}": [row for row in OBJECTS if row["budget_flops"] == c] for c in LISTS["budget_flops"]},
    "objects with lists": [{**row, "tags": ["a", "b"], "history": [{"loss": 3}]} for row in OBJECTS],
}


@pytest.mark.parametrize("dumps", DUMPS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["runs.json", "runs.txt", "runs.jsonl"])
def test_every_shape_of_a_table_in_json_is_read(tmp_path, shape, dumps, name):
    path = save(tmp_path, DUMPS[dumps](SHAPES[shape]), name)
    assert rows(path) == ROWS
    assert load(path).origin == "json"


def test_lists_of_runs_one_after_the_other_are_one_table(tmp_path):
    assert rows(save(tmp_path, json.dumps(OBJECTS[:9]) + "\n" + json.dumps(OBJECTS[9:], indent=1))) == ROWS
    lists = save(tmp_path, json.dumps(SHAPES["lists by budget"]))
    assert notes(lists) == ["The 3 lists of the document are taken as one table."]


def test_a_table_that_is_one_part_of_a_document_is_said(tmp_path):
    assert notes(save(tmp_path, json.dumps(SHAPES["a key beside others"]))) == [
        "The table is what the document holds as 'runs'."
    ]
    assert notes(save(tmp_path, json.dumps(SHAPES["a key"]))) == []


@pytest.mark.parametrize("dumps", DUMPS)
@pytest.mark.parametrize("shape", ["lines", "list", "by name", "objects in a row"])
def test_nested_objects_are_columns_with_points_in_their_names(tmp_path, shape, dumps):
    objects = [nested(row) for row in OBJECTS]
    text = {
        "lines": "\n".join(map(json.dumps, objects)),
        "list": DUMPS[dumps](objects),
        "by name": DUMPS[dumps](dict(zip(NAMES, objects, strict=True))),
        "objects in a row": "\n".join(map(DUMPS[dumps], objects)),
    }[shape]
    theirs = {"n_params": "config.n_params", "loss": "summary.loss", "n_tokens": "summary.n_tokens"}
    path = save(tmp_path, text)
    assert rows(path, **theirs) == ROWS
    header = load(path, **theirs).columns.header
    assert {"config.optimizer.lr", "config.optimizer.betas", "_id"} < {*header}


def test_a_column_of_objects_and_numbers_keeps_its_objects(tmp_path):
    lines = [json.dumps({**OBJECTS[0]}), json.dumps({**OBJECTS[1], "loss": {"min": 2.5}})]
    assert 'loss = {"min": 2.5} is not a finite number' in refusal(save(tmp_path, "\n".join(lines))).message
    message = refusal(save(tmp_path, lines[1])).message
    assert "lacks the column loss; it has budget_flops, n_params, n_tokens, loss.min." in message


def test_a_nested_value_and_one_of_its_whole_name_are_two_columns_of_one_name(tmp_path):
    path = save(tmp_path, json.dumps({**OBJECTS[0], "a": {"b": 1}, "a.b": 2}))
    assert "has a row with two values of 'a.b'" in refusal(path).message


def test_columns_that_are_called_otherwise_are_told_from_runs(tmp_path):
    columns = by_column(NAMES)
    renamed = {"C": columns["budget_flops"], "N": columns["n_params"], "D": columns["n_tokens"], "L": columns["loss"]}
    theirs = {"budget_flops": "C", "n_params": "N", "n_tokens": "D", "loss": "L"}
    assert rows(save(tmp_path, json.dumps(renamed)), **theirs) == ROWS


def test_rows_are_counted_in_a_document_and_lines_in_lines(tmp_path):
    bad = [*OBJECTS[:2], {**OBJECTS[2], "loss": "oops"}]
    assert "row 3: loss = 'oops'" in refusal(save(tmp_path, json.dumps(bad, indent=1))).message
    assert "line 4: loss = 'oops'" in refusal(save(tmp_path, "\n" + "\n".join(map(json.dumps, bad)))).message


def test_numbers_that_are_none_are_refused_with_their_row(tmp_path):
    for value in (float("nan"), float("inf"), 10**400):
        text = json.dumps([OBJECTS[0], {**OBJECTS[1], "n_tokens": value}])
        assert "row 2: n_tokens = " in refusal(save(tmp_path, text)).message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps(DATA), "is a list of lists, which do not name their columns."),
        (json.dumps([*OBJECTS, 3]), f"is a list whose row {len(OBJECTS) + 1} is not a JSON object."),
        ("[]", "holds an empty list."),
        ("[[]]", "is a list of lists"),
        ('"text"', "is JSON, but neither a list nor an object."),
        ("3", "is JSON, but neither a list nor an object."),
        ('{"train": [{"loss": 1}], "test": [{"loss": 2}]}', "holds 2 tables ('train', 'test')."),
        ('{"loss": [1, 2], "n_params": [1]}', "has columns of different lengths: 'loss' has 2 and 'n_params' 1."),
        ('{"columns": ["loss", "n"], "data": [[1, 2], [1]]}', "has 2 columns, and row 2 of its data is of length 1."),
        ('{"columns": ["loss", "loss"], "data": [[1, 2]]}', "lacks the columns"),
        ('[\n{"loss": 1,\n"loss": 2}]', "is not JSON: it names 'loss' twice."),
        ('[\n{"loss": 1},\n{"loss" 2}]', "line 3, is not JSON: Expecting ':' delimiter (column 9)."),
        ("[" * 100_000, "is not JSON: it is nested too deep."),
        ('{"a":' * 100_000, "is not JSON: it is nested too deep."),
        ('[{"loss": ' + "9" * 5000 + "}]", "has 5000 digits, more than the 4300 that Python reads."),
        ("{}", "lacks the columns"),
        ("", "is empty"),
    ],
    ids=range(17),
)
def test_json_that_is_no_table_is_refused(tmp_path, text, said):
    assert said in refusal(save(tmp_path, text, "runs.json")).message


def test_a_damaged_first_line_of_json_lines_is_named(tmp_path):
    lines = "\n".join(map(json.dumps, OBJECTS))
    assert "line 1, is not JSON" in refusal(save(tmp_path, lines.replace('"loss"', "loss", 1), "runs.jsonl")).message
    assert "line 1, is not JSON" in refusal(save(tmp_path, lines.replace('"loss"', "loss", 1), "runs")).message


def test_a_csv_header_may_begin_with_a_bracket(tmp_path):
    text = "[step],budget_flops,n_params,n_tokens,loss\n1,1e18,1e8,2e9,2.5\n"
    assert rows(save(tmp_path, text)) == [(1e18, 1e8, 2e9, 2.5)]


def test_one_run_that_goes_over_lines_is_a_row(tmp_path):
    assert rows(save(tmp_path, json.dumps(OBJECTS[0], indent=2))) == ROWS[:1]


def test_nesting_without_end_makes_no_endless_names(tmp_path):
    deep = json.loads('{"a":' * 200 + "1" + "}" * 200)
    path = save(tmp_path, json.dumps([{**row, "deep": deep} for row in OBJECTS]))
    assert rows(path) == ROWS
    assert max(map(len, load(path).columns.header)) < 40


def test_columns_by_number_need_no_known_name(tmp_path):
    text = json.dumps({f"x{column}": rows for column, rows in by_column(NUMBERS).items()})
    found = read_table(text.encode(), name="", suffix=".json", wanted=COLUMNS)
    assert found.header == tuple(f"x{column}" for column in COLUMNS)
