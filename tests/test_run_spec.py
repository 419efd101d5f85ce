"""run_id is the hash of the content."""

from isoflop.run_spec import Job, RunSpec
from tests.run_examples import OPTIMIZER, RUN


def test_the_id_of_a_known_run_never_changes() -> None:
    # A changed id would orphan every result in every user's database.
    assert RUN.run_id == "5b718a0f694c"


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
