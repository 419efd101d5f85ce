"""run_id is the hash of the content."""

from isoflop.run_spec import Job, OptimizerSpec, RunSpec, ScheduleSpec
from isoflop.shape import ModelShape

SHAPE = ModelShape(n_layers=2, width=16, n_heads=1, head_dim=16, d_ff=48, vocab_size=257, context_length=64)
OPTIMIZER = OptimizerSpec(
    learning_rate=0.01,
    hidden_rate_scale=2.0,
    head_rate_scale=2.0,
    decay_per_step=0.005,
    beta1=0.9,
    beta2=0.98,
    epsilon=1e-8,
    grad_clip=1.0,
)
RUN = RunSpec(
    trainer="builtin",
    shape=SHAPE,
    n_steps=100,
    batch_sequences=2,
    schedule=ScheduleSpec(warmup_steps=5, cooldown_steps=50, cooldown_shape="linear"),
    optimizer=OPTIMIZER,
    seed=0,
    corpus_fingerprint="0123456789abcdef",
    tokenizer="byte",
    eval_tokens=1024,
)


def test_the_id_of_a_known_run_never_changes() -> None:
    # A changed id would orphan every result in every user's database.
    assert RUN.run_id == "5b718a0f694c"


def test_any_changed_field_changes_the_id() -> None:
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
    ids = {RunSpec.model_validate(run.model_dump()).run_id for run in changed} | {RUN.run_id}
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
    assert RUN.planned_flops == 12_800 * SHAPE.flops_per_token
