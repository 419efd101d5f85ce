"""[command] and [[ladder]]: what they may say, and that every key of theirs counts."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from isoflop.errors import IsoflopError
from isoflop.plan.planner import make_plan
from isoflop.spec import LadderEntry, SweepSpec, load_spec, parse_spec
from isoflop.spec.command_spec import CommandSpec, filled
from isoflop.sweep.own_program import load_sweep, program_place
from isoflop.sweep.planning import NO_CORPUS
from tests.config_changes import as_toml

SIZES = [{"n_params": 1000 * 2**n, "flops_per_token": 6000 * 2**n, "depth": n} for n in range(5)]
BASE: Mapping[str, Any] = {
    "name": "own",
    "budgets": [6e9],
    "trainer": "command",
    "grid": {"lattice": [size["n_params"] for size in SIZES]},
    "command": {"argv": ["true", "{depth}", "{n_tokens}"]},
    "ladder": SIZES,
}


def with_ladder(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {**BASE, "ladder": list(entries)}


def with_command(**keys: object) -> dict[str, Any]:
    return {**BASE, "command": {**BASE["command"], **keys}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (with_ladder(*SIZES[:3]), "ladder: 3 sizes are too few: a valley takes 4 or more"),
        (with_ladder(*SIZES[::-1]), "ladder: entry 2 has fewer parameters than the entry before"),
        (with_ladder(*SIZES[:2], *SIZES[1:]), "ladder: entry 3 has as many parameters as the entry before"),
        (with_ladder({**SIZES[0], "n_params": 0}, *SIZES[1:]), "entry 1 of ladder.n_params = 0 is not possible"),
        (with_ladder({**SIZES[0], "n_params": -5}, *SIZES[1:]), "it must be at least 1"),
        (with_ladder({**SIZES[0], "flops_per_token": 6}, *SIZES[1:]), "is 0.006 per parameter of n_params = 1000"),
        (with_ladder({**SIZES[0], "flops_per_token": 6e9}, *SIZES[1:]), "is 6e+06 per parameter of n_params = 1000"),
        (with_ladder({"depth": 0}, *SIZES[1:]), "ladder: entry 1 lacks n_params or flops_per_token"),
        (with_ladder({**SIZES[0], "heads": 2}, *SIZES[1:]), "ladder: entry 2 and entry 1 have other arguments: heads"),
        (with_ladder({**SIZES[0], "seed": 2}, *SIZES[1:]), "'seed' cannot be an argument"),
        (with_ladder({**SIZES[0], "n_params_mlp": 2}, *SIZES[1:]), "give all of the groups or none"),
        (with_ladder({**SIZES[0], "depth": [1]}, *SIZES[1:]), "entry 1 of ladder"),
        (with_ladder({**SIZES[0], "depth": float("nan")}, *SIZES[1:]), "depth = nan cannot be an argument"),
        (with_ladder({**SIZES[0], "depth": "a\0b"}, *SIZES[1:]), r"depth = 'a\x00b' cannot be an argument"),
        (with_command(argv=["true", "{dept}"]), "{dept} (did you mean {depth}?); {{dept}} stands for the text {dept}."),
        (with_command(argv=["true"], env={"A": "{result}"}), "did you mean {result_path}?"),
        (with_command(probe=["count", "{n_params}"]), "there is no placeholder {n_params}"),
        (with_command(argv="python train.py"), 'give a list of words, such as ["python", "train.py"]'),
        (with_command(argv=[]), "the list must not be empty"),
        (with_command(argv=["a\0b"]), "does not have the required form"),
        (with_command(env={"A=B": "1"}), "'A=B' cannot be a variable of the environment"),
        (with_command(seconds=0), "it must be more than 0"),
        (with_command(second=9), "unknown key 'command.second'"),
        ({**BASE, "command": None}, 'trainer = "command" needs a table [command] with argv'),
        ({**BASE, "trainer": "builtin"}, '[command] belongs to trainer = "command", and this one is "builtin"'),
        ({**BASE, "recipe": {"learning_rate": 1.0}}, "no use for [recipe] but for max_epochs"),
        ({**BASE, "evaluation": {"tokens": 5}}, "no use for [evaluation]"),
        ({**BASE, "corpus": {"source": "files", "paths": ["x"]}}, "no use for [corpus] but for tokens"),
        ({**BASE, "model": {"context_length": 32}}, "no use for [model]"),
        ({**BASE, "run": {"devices_per_run": 2}}, "command.devices_per_run"),
        ({**BASE, "fit": {"params": "matmul"}}, 'fit.params = "matmul" needs the groups'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(content: Mapping[str, Any], said: str) -> None:
    with pytest.raises(IsoflopError) as caught:
        parse_spec(content, source="x.toml")
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_placeholder_stands_for_its_value_and_other_braces_for_themselves() -> None:
    values = {"n": 12, "yes": True, "rate": 0.1}
    assert filled('{"a": {n}, b: {yes}} {{n}} {rate} {} {', values) == '{"a": 12, b: true} {n} 0.1 {} {'


def test_groups_give_the_total_and_every_count() -> None:
    entry = LadderEntry(
        n_params_embedding=100, n_params_attention=40, n_params_mlp=80, n_params_norm=2, n_params_head=100,
        flops_per_token=2000,
    )  # fmt: skip
    model = entry.model
    assert model is not None
    counts = [model.n_params(count) for count in ("total", "non_embedding", "matmul")]
    assert counts == [322, 122, 222]


@pytest.mark.parametrize("name", ["sizes.toml", "sizes.csv"])
def test_a_ladder_may_be_a_file_of_its_own(tmp_path: Path, name: str) -> None:
    lines = [",".join(SIZES[0]), *(",".join(map(str, size.values())) for size in SIZES)]
    tables = [f"[[ladder]]\n{as_toml(size)}" for size in SIZES]
    (tmp_path / name).write_text("\n".join(lines if name.endswith("csv") else tables))
    (tmp_path / "x.toml").write_text(as_toml({**BASE, "ladder": name}))
    assert load_spec(tmp_path / "x.toml").ladder == parse_spec(BASE, source="x").ladder


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.csv", None, "Cannot read the ladder"),
        ("x.json", "{}", "is neither a .toml nor a .csv file"),
        ("x.csv", "", "There is no ladder in"),
        ("x.csv", "n_params,depth\n,\n", "There is no ladder in"),
        ("x.csv", "n_params,depth,depth\n1,2,3\n", "two of its columns are called 'depth'"),
        ("x.csv", "n_params,depth\n1,2,3\n", "'3' in line 2 has no column"),
        ("x.csv", "n_params,,depth\n1,2,3\n", "'2' in line 2 has no column"),
        ("x.toml", "a = 1", "There is no ladder in"),
    ],
)
def test_a_ladder_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    (tmp_path / "sweep.toml").write_text(as_toml({**BASE, "ladder": name}))
    with pytest.raises(IsoflopError, match=said):
        load_spec(tmp_path / "sweep.toml")


def test_a_ladder_from_a_spreadsheet_may_have_a_mark_blank_lines_and_empty_columns(tmp_path: Path) -> None:
    lines = [",".join([*SIZES[0], ""]), *(",".join([*map(str, size.values()), " "]) for size in SIZES)]
    (tmp_path / "x.csv").write_text("\n\n,,\n".join(["\ufeff", *lines]), encoding="utf-8", newline="\r\n")
    (tmp_path / "x.toml").write_text(as_toml({**BASE, "ladder": "x.csv"}))
    assert load_spec(tmp_path / "x.toml").ladder == parse_spec(BASE, source="x").ladder


def ids(spec: SweepSpec) -> list[str]:
    return list(make_plan(spec, NO_CORPUS).runs)


# Another value for each key of [command], and whether the runs are others for it.
COMMAND_CHANGES: Mapping[str, tuple[object, bool]] = {
    "argv": (["true", "{n_tokens}"], True),
    "env": ({"A": "{depth}"}, True),
    "cwd": ("sub", False),
    "seconds": (9.0, False),
    "grace_seconds": (9.0, False),
    "devices_per_run": (2, False),
    "probe": (["true", "{depth}"], False),
    "measure_tokens": (9, False),
    "code": (["program.py"], True),
    "code_hash": ("0123", True),
}


@pytest.mark.parametrize("key", CommandSpec.model_fields)
def test_every_key_of_a_command_counts(tmp_path: Path, key: str) -> None:
    value, other_runs = COMMAND_CHANGES[key]
    (tmp_path / "sub").mkdir()
    (tmp_path / "program.py").write_text("print()")
    file = tmp_path / "sweep.toml"

    def loaded(content: Mapping[str, Any]) -> SweepSpec:
        ladder = "".join(f"[[ladder]]\n{as_toml(size)}" for size in SIZES)
        file.write_text(as_toml({name: part for name, part in content.items() if name != "ladder"}) + ladder)
        return load_sweep(file, tmp_path / "artifacts")

    before, after = loaded(BASE), loaded(with_command(**{key: value}))
    if key == "code_hash":  # what isoflop fills in is not the user's to say
        assert after == before
        return
    assert (ids(before) != ids(after)) == other_runs
    assert before != after
    if key in ("cwd", "seconds", "grace_seconds"):
        assert program_place(before, file) != program_place(after, file)


def test_the_arguments_of_a_size_and_its_counts_are_part_of_a_run() -> None:
    base = ids(parse_spec(BASE, source="x"))
    for change in ({"depth": 9}, {"n_params": 1001}, {"flops_per_token": 6003}):
        changed = ids(parse_spec(with_ladder({**SIZES[0], **change}, *SIZES[1:]), source="x"))
        assert changed[0] != base[0]
        assert changed[1:] == base[1:]


def test_a_change_of_the_programs_files_makes_other_runs(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    ladder = "".join(f"[[ladder]]\n{as_toml(size)}" for size in SIZES)
    content = {**with_command(argv=["sh", "train.sh", "{n_tokens}"]), "ladder": None}
    file.write_text(as_toml({name: part for name, part in content.items() if part is not None}) + ladder)
    hashes = []
    for text in ("echo 1", "echo 1", "echo 2"):
        (tmp_path / "train.sh").write_text(text)
        spec = load_sweep(file, tmp_path / "artifacts")
        assert spec.command is not None
        hashes.append((spec.command.code_hash, ids(spec)))
        assert spec.asks_the_same_as(load_spec(file))  # what isoflop filled in is no change of the file
    assert hashes[0] == hashes[1]
    assert hashes[0][0] != hashes[2][0]
    assert hashes[0][1] != hashes[2][1]


def test_a_probe_is_asked_once_for_each_size_and_its_answers_checked(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    script = """
    echo "$1" >> asked
    if test "$1" = 3 && test -e odd; then cat odd; exit $(cat code); fi
    echo counting; echo "{\\"n_params\\": $((1000 << $1)), \\"flops_per_token\\": $((6000 << $1))}"
    """
    (tmp_path / "count.sh").write_text(script)
    content = with_command(probe=["sh", "count.sh", "{depth}"])
    ladder = "".join(f"[[ladder]]\ndepth = {n}\n" for n in range(5))
    file.write_text(as_toml({name: part for name, part in content.items() if name != "ladder"}) + ladder)

    def loaded() -> SweepSpec:
        return load_sweep(file, tmp_path / "artifacts")

    assert loaded().ladder == parse_spec(BASE, source="x").ladder
    assert loaded() == loaded()
    assert sorted((tmp_path / "asked").read_text().split()) == ["0", "1", "2", "3", "4"]
    for odd, code, said in (
        ("oops", 1, "for entry 4 of the ladder ended with exit code 1"),
        ("oops", 0, "for entry 4 of the ladder printed no JSON object"),
        ('{"n_params": 5}', 0, "for entry 4 of the ladder did not print n_params and flops_per_token"),
        ('{"n_params": 5, "flops_per_token": 1}', 0, "entry 4 of the ladder cannot be: flops_per_token = 1 is 0.2 per"),
        ('{"n_params": 5, "flops_per_token": 30}', 0, "entry 4 has fewer parameters than the entry before"),
        ('{"n_params": 8000, "flops_per_token": 48000, "x": 1}', 0, "printed 'x', which says nothing here"),
    ):
        (tmp_path / "odd").write_text(odd)
        (tmp_path / "code").write_text(str(code))
        (tmp_path / "count.sh").write_text(f"{script}\n# {odd}{code}")  # another program is asked again
        with pytest.raises(IsoflopError, match=said):
            loaded()


def test_a_probe_of_files_that_are_not_known_is_asked_again_after_an_answer_that_cannot_be(tmp_path: Path) -> None:
    answers = (
        '{"n_params": 9, "flops_per_token": 9}',
        '{"n_params": $((N << $1)), "flops_per_token": $((6 * N << $1))}',
    )
    folders = [tmp_path / name for name in ("one", "two")]
    content = with_command(argv=["true"], probe=["sh", "-c", ". ./count.sh", "sh", "{depth}"])
    ladder = "".join(f"[[ladder]]\ndepth = {n}\n" for n in range(4))
    body = as_toml({name: part for name, part in content.items() if name != "ladder"}) + ladder
    found = []
    for folder, size in zip(folders, (1000, 2000), strict=True):
        folder.mkdir()
        (folder / "sweep.toml").write_text(body)
        (folder / "count.sh").write_text(f"cat <<END\n{answers[0]}\nEND\n")
        with pytest.raises(IsoflopError, match="entry 1 of the ladder cannot be"):
            load_sweep(folder / "sweep.toml", tmp_path / "artifacts")
        (folder / "count.sh").write_text(f"N={size}\ncat <<END\n{answers[1]}\nEND\n")
        found.append(load_sweep(folder / "sweep.toml", tmp_path / "artifacts").ladder[0].n_params)
    assert found == [1000, 2000]


def test_a_size_without_a_model_of_its_own_is_named(tmp_path: Path) -> None:
    spec = parse_spec({**BASE, "grid": {"sizes": 9, "half_width": 0.6, "center_n_params": 4000}}, source="x")
    plan = make_plan(spec, NO_CORPUS)
    assert [cell.run.shape.n_params_total for cell in plan.cells] == [1000, 2000, 4000, 8000, 16000]
    assert len(plan.dropped) == 4
    assert all("the ladder has no model of its own near" in cell.reason for cell in plan.dropped)
    for cell in plan.cells:
        assert cell.run.planned_flops == pytest.approx(6e9, rel=0.005)


def test_what_a_probe_does_not_count_by_group_cannot_be_asked_for(tmp_path: Path) -> None:
    """Nor is a script in argv taken for the name of a file because no name is so long."""
    (tmp_path / "probe.py").write_text(
        'import sys; n = int(sys.argv[1]); print(\'{"n_params": %d, "flops_per_token": %d}\' % (n, 6 * n))'
    )
    script = "true; " * 60
    lines = [
        'name = "own"', "budgets = [1e12]", 'trainer = "command"', "[fit]", 'params = "non_embedding"', "[command]",
        f'argv = ["sh", "-c", "{script}"]', f'probe = ["{sys.executable}", "-S", "probe.py", "{{n}}"]',
        *(f"[[ladder]]\nn = {1000 * 2**k}" for k in range(4)),
    ]  # fmt: skip
    file = tmp_path / "own.toml"
    file.write_text("\n".join(lines))
    with pytest.raises(IsoflopError, match="needs parameters by group, and command"):
        load_sweep(file, tmp_path / "artifacts")


def test_a_script_that_is_not_there_is_missed_before_anything_is_planned(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(as_toml(with_command(argv=["sh", "trian.sh", "{n_tokens}"])))
    with pytest.raises(IsoflopError, match=r"names 'trian\.sh', which is not in"):
        program_place(load_sweep(file, tmp_path / "artifacts"), file)
