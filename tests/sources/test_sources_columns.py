"""Tables that call their columns otherwise."""

import pytest

from isoflop.errors import IsoflopError
from isoflop.report.reproduce import reproduction
from isoflop.sources.columns.column_request import parse_columns
from isoflop.sources.columns.header import OPTIONAL, REQUIRED
from isoflop.sources.load import load_sources
from isoflop.sources.source import Row
from isoflop.sources.table_options import TableOptions
from tests.report_examples import summary_of
from tests.sources.test_sources_sweep import save_complete_sweep

OURS = "budget_flops,n_params,n_tokens,loss"
THEIRS = "C,N params,D,val_loss"
ROW = "1e18,1e8,2e9,2.5"
ALL = ["budget_flops=C", "n_params=N params", "n_tokens=D", "loss=val_loss"]


def save(folder, *lines, name="runs.csv"):
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def load(*sources, columns=(), check_units=True):
    options = TableOptions(columns=parse_columns(columns, REQUIRED + OPTIONAL), check_units=check_units)
    return load_sources(sources, db=None, sweep=None, options=options)


def refusal(*sources, columns=()) -> IsoflopError:
    with pytest.raises(IsoflopError) as refused:
        load(*sources, columns=columns)
    assert refused.value.hint and "\n" not in refused.value.message + refused.value.hint
    return refused.value


@pytest.mark.parametrize("name", ["runs.csv", "runs.txt"])
def test_a_file_need_not_hold_our_names(tmp_path, name):
    source = load(save(tmp_path, THEIRS, ROW, name=name), columns=ALL)
    assert source.rows == (Row(1e18, 1e8, 2e9, 2.5, source=name),)


def test_the_name_given_wins_over_a_column_of_our_name(tmp_path):
    path = save(tmp_path, f"{OURS},smoothed", f"{ROW},2.25")
    assert load(path, columns=["loss=smoothed"]).columns_of_fit["loss"] == (2.25,)
    assert load(path).columns_of_fit["loss"] == (2.5,)


def test_optional_columns_may_have_other_names_too(tmp_path):
    path = save(tmp_path, f"{OURS},stderr,run", f"{ROW},0.5,a")
    [point] = load(path, columns=["loss_se=stderr", "trunk = run"]).rows
    assert (point.loss_se, point.trunk) == (0.5, "a")


@pytest.mark.parametrize(
    ("columns", "message", "hint"),
    [
        (["params=N"], "isoflop reads no column 'params'", "budget_flops, n_params, n_tokens, loss, loss_se"),
        (["loss"], "--column 'loss' does not have the form NAME=THEIRS", "--column n_params=N"),
        (["loss="], "--column 'loss=' does not have the form NAME=THEIRS", "--column n_params=N"),
        (["loss=val_los"], "lacks the column 'val_los', which --column gives for loss", "mean --column loss=val_loss?"),
        (["loss=zzz"], "lacks the column 'zzz'", "It has C, N params, D, val_loss."),
        (["trunk=zzz", *ALL], "lacks the column 'zzz', which --column gives for trunk", "It has C, N params"),
        (["loss_se=val_loss "], "lacks the column loss; it has C", "--column "),
    ],
    ids=["no such name", "no sign", "no name", "misspelt", "absent", "absent optional", "not all"],
)
def test_a_column_that_cannot_be_found_says_what_there_is(tmp_path, columns, message, hint):
    refused = refusal(save(tmp_path, THEIRS, ROW), columns=columns)
    assert message in refused.message
    assert hint in refused.hint


def test_a_misspelt_column_is_refused_though_the_file_has_ours(tmp_path):
    assert "lacks the column 'val'" in refusal(save(tmp_path, OURS, ROW), columns=["loss=val"]).message


def test_a_wide_table_lists_its_first_columns(tmp_path):
    path = save(tmp_path, ",".join(f"c{index}" for index in range(300)), "1", name="runs.csv")
    assert refusal(path).message.endswith("c18, c19 and 280 more.")


def test_tokens_are_not_guessed(tmp_path):
    refused = refusal(save(tmp_path, "budget_flops,n_params,loss", "1e18,1e8,2.5"))
    assert "lacks the column n_tokens" in refused.message
    assert "FLOPs / (6 x parameters) would only be a guess" in refused.hint


def test_of_several_tables_each_is_read_by_the_name_it_has(tmp_path):
    ours, theirs = save(tmp_path, OURS, ROW, name="ours.csv"), save(tmp_path, THEIRS, ROW, name="theirs.csv")
    assert len(load(ours, theirs, columns=ALL).rows) == 2
    assert "theirs.csv' lacks the column 'c', which" in refusal(ours, theirs, columns=["loss=c"]).message


def test_columns_of_sweeps_are_known(tmp_path):
    db = tmp_path / "isoflop.db"
    save_complete_sweep(db)
    assert "--column renames a column of a table" in refusal(str(db), columns=["loss=val_loss"]).message


def test_the_command_to_reproduce_names_the_columns(tmp_path):
    path = save(tmp_path, THEIRS, ROW)
    assert reproduction(summary_of(load(path, columns=ALL)))[0] == (
        f"isoflop fit {path} --column budget_flops=C --column 'n_params=N params' --column n_tokens=D "
        "--column loss=val_loss"
    )


@pytest.mark.parametrize(
    "header",
    ["C (FLOPs),N (params),D (tokens),val loss [nats/token]", "Compute [FLOP],Params (parameters),Tokens,loss"],
)
def test_our_own_units_in_brackets_do_not_hide_a_name(tmp_path, header):
    (row,) = load(save(tmp_path, header, ROW)).rows
    assert row[:4] == load(save(tmp_path, OURS, ROW)).rows[0][:4]


@pytest.mark.parametrize(
    ("header", "option"),
    [
        ("flops,params,tokens_per_param,loss", "--column n_tokens='params*tokens_per_param'"),
        ("flops,params,D/N,loss", "--column n_tokens='params*D/N'"),
        ("flops,params,tokens,test_error", "--column loss=test_error"),
        ("macs,params,tokens,loss", "--column budget_flops='macs*2'"),
        ("gpu_hours,params,tokens,loss", "--column budget_flops='gpu_hours*3600*4e14'"),
        ("flops,total_params,active_params,tokens,loss", "--column n_params=active_params"),
    ],
)
def test_the_hint_names_an_option_that_can_be_met(tmp_path, header, option):
    path = save(tmp_path, header, ",".join("1" for _ in header.split(",")))
    hint = refusal(path).hint
    assert option in hint
    theirs = option.removeprefix("--column ").replace("'", "")
    load(path, columns=[theirs], check_units=False)


def test_columns_of_other_things_are_not_offered(tmp_path):
    hint = refusal(save(tmp_path, "log10_flops,params,tokens,loss", "18,1,1,1")).hint
    assert "budget_flops=log10_flops" not in hint
    assert "logarithm" in hint
    assert "loss=flops" not in refusal(save(tmp_path, "flops,params,tokens,y", "1,1,1,1")).hint


def test_a_factor_of_a_product_may_be_a_column_of_its_own_too(tmp_path):
    path = save(tmp_path, "flops,params,tpp,loss", "1.2e19,1e8,20,3")
    (row,) = load(path, columns=["n_tokens=params*tpp"]).rows
    assert row[:4] == (1.2e19, 1e8, 2e9, 3.0)
