"""Text tables as programs and people write them: separators, comments, titles, index columns, decimal commas."""

import pytest

from isoflop.sources.table.formats import read_table
from tests.field_cases import CASES, CELLS, COLUMNS, ROWS, notes, refusal, rows, save, table

HEADER = ",".join(COLUMNS)
COMMAS = [[cell.replace(".", ",") for cell in row] for row in CELLS]


@pytest.mark.parametrize(
    "case",
    [
        "09-json-array/input.json",
        "09-json-array/input-indented.json",
        "10-json-object-of-runs/input.json",
        "13-gzip/input.csv.gz",
        "14-tabs/input.tsv",
        "16-comment-lines/input.csv",
        "17-spreadsheet-exports/input.csv",
        "17-spreadsheet-exports/input.xlsx",
    ],
)
def test_every_case_of_the_field_has_the_rows_of_the_clean_table(case):
    assert rows(CASES / case) == ROWS


@pytest.mark.parametrize("name", ["runs.csv", "runs.tsv", "runs.txt", "runs"])
@pytest.mark.parametrize("separator", [",", "\t", ";", ", ", "; ", " | ", "|", "  ", " "])
def test_the_separator_is_told_by_header_and_rows_not_by_the_ending(tmp_path, separator, name):
    path = save(tmp_path, table(separator), name)
    assert rows(path) == ROWS
    assert notes(path) == []


def test_names_that_are_not_ours_do_not_hide_the_separator(tmp_path):
    path = save(tmp_path, table(";", header=["C", "N, embeddings too", "D", "loss, nats"]), "runs.txt")
    assert rows(path, budget_flops="C", n_params="N, embeddings too", n_tokens="D", loss="loss, nats") == ROWS


@pytest.mark.parametrize("other", [";", "\t", "|", " "])
def test_another_sign_inside_a_text_column_separates_nothing(tmp_path, other):
    cells = [[*row, f"a{other}b{other}c{other}d"] for row in CELLS]
    assert rows(save(tmp_path, table(cells=cells, header=[*COLUMNS, "note"]))) == ROWS


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_excel_says_which_sign_it_took(tmp_path, separator):
    assert rows(save(tmp_path, f"sep={separator}\n{table(separator)}")) == ROWS
    assert refusal(save(tmp_path, f"sep={separator}\n")).hint


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"], ids=["unix", "windows", "old mac", "doubled"])
@pytest.mark.parametrize("above", ["", "\n \n", ",,,\n", "# a, b; c\n\n# d\n", "#\n"], ids=repr)
def test_ends_of_lines_blank_lines_and_comments_above_the_header_are_harmless(tmp_path, end, above):
    path = save(tmp_path, (above + table()).replace("\n", end))
    assert rows(path) == ROWS
    assert notes(path) == []


@pytest.mark.parametrize("sign", ["# ", "#", "#\t", "## "], ids=repr)
@pytest.mark.parametrize("separator", [",", "\t", " ", ";"])
def test_a_header_behind_the_sign_of_a_comment_is_found(tmp_path, sign, separator):
    assert rows(save(tmp_path, f"# numpy\n{sign}{table(separator)}", "runs.csv")) == ROWS


def test_numbers_without_names_are_refused(tmp_path):
    refused = refusal(save(tmp_path, "# no names\n" + table().partition("\n")[2]))
    assert "runs.csv', line 2, holds numbers where the columns should be named." in refused.message
    assert "budget_flops, n_params, n_tokens, loss" in refused.hint


def test_columns_may_be_named_by_numbers_where_asked_for(tmp_path):
    path = save(tmp_path, table(header=["0", "1", "2", "3"]))
    assert rows(path, budget_flops="0", n_params="1", n_tokens="2", loss="3") == ROWS


@pytest.mark.parametrize("title", ["My sweep,,,\n\n", "My sweep\nNovember 2024, three budgets\n"])
def test_a_title_above_the_header_is_left_out_and_said(tmp_path, title):
    path = save(tmp_path, title + table())
    assert rows(path) == ROWS
    assert notes(path) == ["The columns are named in line 3; what stands above is left out."]


def test_comments_between_rows_are_left_out_and_whole_rows_among_them_counted(tmp_path):
    first, *others = table().splitlines()[1:]
    path = save(tmp_path, "\n".join([HEADER, "# 1e18 next", "#" + first, first, "", "#, and so on", *others]))
    assert rows(path) == ROWS
    assert notes(path) == ["A row that begins with # is a comment and left out (line 3)."]


def test_runs_that_are_called_by_a_sign_and_a_number_are_rows(tmp_path):
    cells = [[f"#{index}", *row] for index, row in enumerate(CELLS)]
    path = save(tmp_path, table(cells=cells, header=["run", *COLUMNS]))
    assert rows(path) == ROWS
    cells[3][0] = "the fourth"
    assert rows(save(tmp_path, table(cells=cells, header=["run", *COLUMNS]))) == ROWS
    assert notes(path) == []


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index"])
def test_index_columns_are_ignored(tmp_path, name):
    cells = [[str(index), str(index), *row] for index, row in enumerate(CELLS)]
    assert rows(save(tmp_path, table(cells=cells, header=["", name, *COLUMNS]))) == ROWS


@pytest.mark.parametrize("start", [0, 1, "run-"])
def test_rows_that_a_header_without_name_for_it_numbers_are_read_as_r_means_them(tmp_path, start):
    cells = [[f'"{start}{i}"' if start == "run-" else str(start + i), *row] for i, row in enumerate(CELLS)]
    assert rows(save(tmp_path, table(cells=cells))) == ROWS


def test_a_decimal_comma_between_commas_is_refused_not_shifted(tmp_path):
    refused = refusal(save(tmp_path, f"{HEADER}\n1e18,35202432,4526202432,3,5577\n1e18,57950720,2749462532,3,4437\n"))
    assert "line 2, has 5 fields for 4 columns." in refused.message
    assert "decimals with a point" in refused.hint


@pytest.mark.parametrize("first", [[7, 8, 9], [1, 3, 4], ["1e18", "2e18", "3e18"]])
def test_rows_of_a_field_too_many_are_refused_where_the_first_do_not_count_them(tmp_path, first):
    lines = [f"{one},{','.join(cells)}" for one, cells in zip(first, CELLS, strict=False)]
    assert "line 2, has 5 fields for 4 columns." in refusal(save(tmp_path, "\n".join([HEADER, *lines]))).message


@pytest.mark.parametrize("first", ["run-{}", "{}"])
def test_a_decimal_comma_behind_names_of_runs_is_refused_not_shifted(tmp_path, first):
    lines = [f"{first.format(i)},{','.join(cells[:3])},3,{50 + i}" for i, cells in enumerate(CELLS, start=1)]
    assert (
        "line 2, has 6 fields for 5 columns." in refusal(save(tmp_path, "\n".join([f"run,{HEADER}", *lines]))).message
    )


def test_a_header_behind_the_sign_of_a_comment_may_have_texts_below(tmp_path):
    lines = [f"run-{i},{','.join(cells)}" for i, cells in enumerate(CELLS)]
    assert rows(save(tmp_path, "\n".join([f"# run,{HEADER}", *lines]))) == ROWS


def test_known_names_decide_on_the_separator_before_rows_do(tmp_path):
    lines = [f"{';'.join(cells)};one, two" for cells in CELLS]
    path = save(tmp_path, "\n".join([";".join([*COLUMNS, "of, by", "note"]), *lines]))
    assert rows(path) == ROWS


def test_rows_decide_on_the_separator_where_names_are_not_known(tmp_path):
    path = save(tmp_path, table(";", header=["FLOPs, of all, in words, and more, still", "N", "D", "L"]))
    named = {"n_params": "N", "n_tokens": "D", "loss": "L"}
    assert read_table(path.read_bytes(), name="", suffix=".csv", wanted=()).header[1:] == ("N", "D", "L")
    assert rows(path, budget_flops="FLOPs, of all, in words, and more, still", **named) == ROWS


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_separator_at_the_end_of_lines_ends_no_table(tmp_path, separator):
    lines = table(separator).splitlines()
    assert rows(save(tmp_path, "".join(f"{line}{separator}\n" for line in lines))) == ROWS
    assert rows(save(tmp_path, "\n".join([lines[0], *(line + separator for line in lines[1:])]))) == ROWS
    assert rows(save(tmp_path, "\n".join([lines[0] + separator, *lines[1:]]))) == ROWS


def test_names_and_cells_may_be_quoted_with_spaces_around_them(tmp_path):
    text = "".join(", ".join(f'"{cell}"' for cell in row) + " \n" for row in [COLUMNS, *CELLS])
    assert rows(save(tmp_path, text)) == ROWS


def test_a_name_may_go_over_two_lines(tmp_path):
    path = save(tmp_path, table(header=[*COLUMNS[:3], '"loss\n(web)"']))
    assert rows(path, loss="loss (web)") == ROWS
    assert refusal(path).message.endswith("it has budget_flops, n_params, n_tokens, loss (web).")
    broken = save(tmp_path, table(header=[*COLUMNS, '"a\nb"'], cells=[[*row, ""] for row in CELLS] + [["x"] * 5]))
    assert f"line {len(CELLS) + 3}: budget_flops = 'x'" in refusal(broken).message


def test_what_moves_a_cursor_is_no_part_of_a_name(tmp_path):
    path = save(tmp_path, table(header=[*COLUMNS[:3], "\x1b[2J\u202el\xa0oss\x07"]))
    assert refusal(path).message.endswith("it has budget_flops, n_params, n_tokens, [2J l oss.")


def test_markdown_and_psql_tables_are_read(tmp_path):
    lines = [f"| {' | '.join(row)} |" for row in [COLUMNS, ["---:"] * 4, *CELLS]]
    assert rows(save(tmp_path, "\n".join(lines), "runs.md")) == ROWS
    lines = [" | ".join(row) for row in [COLUMNS, *CELLS]]
    assert rows(save(tmp_path, "\n".join([lines[0], "---+---+---+---", *lines[1:]]), "runs.txt")) == ROWS


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("thousands", ["", "."])
def test_decimal_commas_are_read_where_no_cell_speaks_against_them(tmp_path, separator, thousands):
    grouped = [[cell if "e" in cell or "," in cell else f"{int(cell):,}".replace(",", thousands) for cell in row]
               for row in COMMAS]  # fmt: skip
    path = save(tmp_path, table(separator, grouped))
    assert rows(path) == ROWS
    assert notes(path) == ["Commas are read as decimal points (as in '9,56e+17', line 2)."]


def test_losses_of_three_decimals_are_decimal_commas_too(tmp_path):
    path = save(tmp_path, "budget_flops;n_params;n_tokens;loss\n1e18;35202432;4526202432;3,557\n")
    assert rows(path) == [(1e18, 35202432, 4526202432, 3.557)]


@pytest.mark.parametrize("against", ["3.5577", "35,202,432", "1,234.5", "0.1"])
def test_one_cell_with_a_point_keeps_every_comma_as_it_is(tmp_path, against):
    cells = [["1e18", *row[1:], "x"] for row in COMMAS]
    cells[-1][-1] = against
    path = save(tmp_path, table(";", cells, [*COLUMNS, "note"]))
    assert read_table(path.read_bytes(), name="", suffix=".csv", wanted=COLUMNS).column("loss")[0] == "3,5577"


@pytest.mark.parametrize("text", ["24.11.2024", "a, b", "v1.2.3", "host.example", "(0,9, 0,95)", "3,", "1,2,3"])
def test_texts_with_points_and_commas_speak_for_nothing(tmp_path, text):
    cells = [[*row, text] for row in COMMAS]
    assert rows(save(tmp_path, table(";", cells, [*COLUMNS, "note"]))) == ROWS


def test_lines_in_errors_are_those_of_the_file(tmp_path):
    text = f"\n# one\n\n{HEADER}\n# two\n\n1e18,1e8,2e9,2.5\n1e18,1e8,2e9,oops\n"
    assert "line 8: loss = 'oops'" in refusal(save(tmp_path, text)).message
    text = f"sep=;\n# one\n{HEADER.replace(',', ';')}\n1e18;1e8;2e9;oops\n"
    assert "line 4: loss = 'oops'" in refusal(save(tmp_path, text)).message


@pytest.mark.parametrize(
    "text", ["just words", "a, b\n", "key: value\nother: 3\n", "[grid]\nsizes = 7\n", "x = 1, 2, 3\ny"]
)
def test_other_texts_are_no_tables(tmp_path, text):
    assert "not a sweep file, a database" in refusal(save(tmp_path, text, "notes.txt")).message
