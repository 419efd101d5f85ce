"""An optimizer and a run that many tests vary."""

from isoflop.run_spec import OptimizerSpec, RunSpec, ScheduleSpec
from isoflop.shape import ModelShape

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
    shape=ModelShape(n_layers=2, width=16, n_heads=1, head_dim=16, d_ff=48, vocab_size=257, context_length=64),
    n_steps=100,
    batch_sequences=2,
    schedule=ScheduleSpec(warmup_steps=5, cooldown_steps=50, cooldown_shape="linear"),
    optimizer=OPTIMIZER,
    seed=0,
    corpus_fingerprint="0123456789abcdef",
    tokenizer="byte",
    eval_tokens=1024,
)


def make_curve(run: RunSpec) -> list[dict[str, float]]:
    """As the trainer leaves it: 64 points or more, evenly spaced, and one after the last step."""
    every = max(1, run.n_steps // 64)
    steps = [*range(every, run.n_steps, every), run.n_steps]
    return [{"step": step, "n_tokens": step * run.batch_tokens, "loss": 1.5 + 3 / step} for step in steps]
