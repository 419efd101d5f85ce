"""run_id is the hash of the content."""

from isoflop.corpus_facts import CorpusFacts
from isoflop.plan.planner import make_plan
from isoflop.run_spec import LATER_FIELDS, Job, RunSpec
from isoflop.spec import parse_spec
from tests.run_examples import OPTIMIZER, RUN

QUICKSTART = {
    "name": "quickstart",
    "budgets": [4e10, 1.26e11, 4e11],
    "grid": {"sizes": 7, "half_width": 0.6, "center_tokens_per_param": 16},
    "model": {"context_length": 64},
    "evaluation": {"tokens": 131072},
}


def test_the_id_of_a_known_run_never_changes() -> None:
    # A changed id would orphan every result in every user's database.
    assert RUN.run_id == "5b718a0f694c"


def test_the_ids_of_the_quickstart_never_change() -> None:
    """As they were when AdamW was the only optimizer; three of its 21 runs."""
    facts = CorpusFacts("0123456789abcdef", n_train_tokens=30_000_000, n_heldout_tokens=600_000, bytes_per_token=1.0)
    sweep = parse_spec(QUICKSTART, source="x")
    assert sweep.spec_hash == "cfe180fc16e54d40"
    ids = [cell.run.run_id for cell in make_plan(sweep, facts).cells]
    assert (ids[0], ids[10], ids[-1], len(ids)) == ("6e7a8cf6cfc5", "caffdd1dbd33", "03af77f67f27", 21)


def test_what_was_recorded_before_a_field_was_added_is_the_same_run() -> None:
    content = RUN.model_dump(mode="json")
    for name in LATER_FIELDS:
        section, _, last = name.rpartition(".")
        del (content[section] if section else content)[last]
    assert RunSpec.model_validate(content).run_id == RUN.run_id
    for changed in ({"kind": "sgd"}, {"momentum": 0.5}, {"writing_rate_scale": 0.5}):
        other = RUN.model_copy(update={"optimizer": OPTIMIZER.model_copy(update=changed)})
        assert other.run_id != RUN.run_id
        assert RunSpec.model_validate_json(other.model_dump_json()).run_id == other.run_id


def test_any_changed_field_changes_the_id() -> None:
    assert RUN.run_id  # known from here on: a copy must not carry it along
    changed = [
        RUN.model_copy(update=update)
        for update in (
            {"seed": 1},
            {"n_steps": 101},
            {"trainer": "simulated"},
            {"numerics": 2},
            {"corpus_fingerprint": "0123456789abcdee"},
            {"optimizer": OPTIMIZER.model_copy(update={"beta2": 0.99})},
        )
    ]
    ids = {run.run_id for run in changed} | {RUN.run_id}
    assert len(ids) == len(changed) + 1


def test_a_run_survives_json() -> None:
    assert RunSpec.model_validate_json(RUN.model_dump_json()) == RUN


def test_a_job_of_one_has_its_runs_id_and_a_larger_one_its_own() -> None:
    other = RunSpec.model_validate({**RUN.model_dump(), "seed": 1})
    assert Job((RUN,)).job_id == RUN.run_id
    assert Job((RUN, other)).job_id not in {RUN.run_id, other.run_id}


def test_tokens_and_flops_follow_from_steps() -> None:
    assert RUN.batch_tokens == 128
    assert RUN.n_tokens == 12_800
    assert RUN.planned_flops == 12_800 * RUN.shape.flops_per_token
