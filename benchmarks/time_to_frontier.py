"""How long does a frontier take: the script that people write, against isoflop with everything on?

    python benchmarks/time_to_frontier.py [--quick] [--json FILE]

One question, that of sweeps/quickstart.toml: five budgets, seven sizes each, bytes of Python's standard library, the
same held-out bytes. The script trains a plain decoder (LayerNorm, GELU, learned positions), one run after the other
with all cores of the machine, operation by operation, at one batch and one rate; once at the usual ones (1024 tokens,
1e-3), once at the best of nine pairs for the middle cell of the smallest budget. Both count FLOPs alike, of their own
shapes. What is compared: wall time of the whole grid, losses at the floors, the interval of the exponent by the same
fit, and, as the two end at different losses, the time that the script needs for isoflop's loss at every floor. Wants an
idle machine; takes about ten minutes on two cores.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from isoflop.corpus import Corpus, heldout_sequences, open_corpus
from isoflop.fit import fit_sweep
from isoflop.hardware import cpu_name
from isoflop.sources.load import load_source
from isoflop.spec import load_spec

SWEEP = Path(__file__).parent.parent / "sweeps" / "quickstart.toml"
BATCHES, RATES = (256, 512, 1024), (1e-3, 3e-3, 1e-2)
USUAL = (1024, 1e-3)
# FLOPs of the script are raised by this factor until it has isoflop's loss, the last time from at most so many times.
STEP, MOST = 1.6, 8.0


@dataclass(frozen=True)
class Size:
    """A decoder as a script names it."""

    n_layers: int
    width: int
    vocab_size: int
    context_length: int

    @property
    def n_params(self) -> int:
        """Every parameter."""
        block = 12 * self.width**2 + 13 * self.width
        return self.n_layers * block + (2 * self.vocab_size + self.context_length + 2) * self.width

    @property
    def flops_per_token(self) -> int:
        """Forward and backward, attention and head included."""
        products = 12 * self.width**2 * self.n_layers + self.vocab_size * self.width
        return 6 * products + 12 * self.n_layers * self.context_length * self.width


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.n_heads = next(n for n in range(max(1, width // 16), 0, -1) if width % n == 0)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, T, width) -> (n, T, width)."""
        n, length, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(n, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.second(x))


class Plain(nn.Module):
    """The decoder that a person writes."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocab_size, size.width)
        self.positions = nn.Embedding(size.context_length, size.width)
        self.blocks = nn.Sequential(*(Block(size.width) for _ in range(size.n_layers)))
        self.norm, self.head = nn.LayerNorm(size.width), nn.Linear(size.width, size.vocab_size, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, T) -> (n, T, V)."""
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight[: tokens.shape[1]])))


@dataclass(frozen=True)
class Run:
    """What a run of the script came to."""

    budget_flops: float
    n_params: int
    n_tokens: int
    loss: float
    seconds: float


class Script:
    """One batch, one rate, one run after the other."""

    def __init__(self, corpus: Corpus, context_length: int, vocab_size: int, eval_tokens: int) -> None:
        windows = corpus.train.windows([0], corpus.facts.n_train_tokens)[0]
        self._train = torch.from_numpy(np.asarray(windows).astype(np.int64))
        held = heldout_sequences(corpus, n_tokens=eval_tokens, context_length=context_length)
        self._held = torch.from_numpy(held)
        self._context, self._vocab = context_length, vocab_size

    def size_near(self, n_params: float) -> Size:
        """The size nearest N, of 2 to 4 layers of width in steps of 4."""
        sizes = (Size(layers, width, self._vocab, self._context) for layers in (2, 3, 4) for width in range(4, 400, 4))
        usual = (size for size in sizes if 8 <= size.width / size.n_layers <= 40 or size.width < 16)
        return min(usual, key=lambda size: abs(math.log(size.n_params / n_params)))

    def train(self, size: Size, budget: float, batch_tokens: int, rate: float, seed: int = 0) -> Run:
        """Train on the tokens that spend the budget, and read the held-out loss."""
        begun = time.perf_counter()
        torch.manual_seed(seed)
        model = Plain(size)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)
        n = max(1, batch_tokens // self._context)
        n_steps = max(1, round(budget / size.flops_per_token / (n * self._context)))
        for step in range(n_steps):
            warm, left = min(1.0, (step + 1) / max(1, n_steps // 20)), step / n_steps
            for group in optimizer.param_groups:
                group["lr"] = rate * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * left)))
            starts = torch.randint(len(self._train) - self._context - 1, (n,)).tolist()
            tokens = torch.stack([self._train[start : start + self._context + 1] for start in starts])
            loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            loss.item()  # as everybody's progress bar does
        held = self._evaluate(model)
        tokens_seen = n_steps * n * self._context
        return Run(budget, size.n_params, tokens_seen, held, time.perf_counter() - begun)

    @torch.no_grad()
    def _evaluate(self, model: nn.Module) -> float:
        sums = [
            F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
            for part in self._held.split(128)
        ]
        return sum(sums) / (len(self._held) * self._context)

    def grid(self, sizes: dict[float, Sequence[float]], batch_tokens: int, rate: float) -> Iterator[Run]:
        """All runs, one after the other."""
        for budget, wanted in sizes.items():
            for size in dict.fromkeys(self.size_near(n_params) for n_params in wanted):
                run = self.train(size, budget, batch_tokens, rate)
                tell(f"  {budget:.1e} N {run.n_params:>7} loss {run.loss:.4f} {run.seconds:5.1f} s")
                yield run


@dataclass(frozen=True)
class Frontier:
    """What the fit reads off a grid.

    Attributes:
        exponent_a: None where the grid gives no frontier: its floors do not lie among its sizes.
        interval: of the exponent a, 90 %, statistical.
        best: lowest loss of each budget, nats.
    """

    exponent_a: float | None
    interval: tuple[float, float] | None
    best: dict[float, float]

    @property
    def words(self) -> str:
        """`0.484 (0.441 to 0.527)`."""
        if self.exponent_a is None:
            return "none"
        low, high = self.interval or (math.nan, math.nan)
        return f"{self.exponent_a:.3f} ({low:.3f} to {high:.3f})"


Row = tuple[float, float, float, float]


def fitted(rows: Sequence[Row]) -> Frontier:
    """The recommended exponent and the lowest losses, by the fit that both are read with."""
    fit = fit_sweep(*map(np.array, zip(*rows, strict=True)))
    found = fit.estimators.recommended
    budgets = sorted({row[0] for row in rows})
    best = {budget: min(row[3] for row in rows if row[0] == budget) for budget in budgets}
    if found is None:
        return Frontier(None, None, best)
    return Frontier(found.estimate.exponent_a, found.estimate.exponent_a_ci, best)


def with_isoflop(seeds: int, budgets: Sequence[float], folder: Path) -> tuple[float, list[Row]]:
    """Seconds of `isoflop run` from nothing, its start and tokenising included, and its rows."""
    lines = SWEEP.read_text().replace("seeds = 4", f"seeds = {seeds}").splitlines()
    asked = (f"budgets = {list(budgets)}" if line.startswith("budgets") else line for line in lines)
    file = folder / "sweep.toml"
    file.write_text("\n".join(asked))
    begun = time.perf_counter()
    command = [sys.executable, "-m", "isoflop", "run", file.name, "--device", "cpu"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    source = load_source(str(file), db=folder / "isoflop.db", sweep=None)
    return seconds, [(row.budget_flops, row.n_params, row.n_tokens, row.loss) for row in source.rows]


@dataclass(frozen=True)
class EqualLoss:
    """What the script takes for a loss of isoflop's.

    Attributes:
        factor: FLOPs over those of its own floor; seconds: of that run, over those of the floor's run.
        reached: False where it had not, at the largest factor that was tried.
    """

    factor: float
    slowdown: float
    reached: bool


def equal_loss(script: Script, floor: Run, wanted: float, batch_tokens: int, rate: float) -> EqualLoss:
    """What the script takes to come from its `floor` to the loss `wanted`.

    N grows as the square root of the FLOPs, as frontiers roughly do; between two tries log FLOPs and log time are taken
    as linear in the loss.
    """
    factor, at = 1.0, floor
    while at.loss > wanted and factor < MOST:
        size = script.size_near(floor.n_params * math.sqrt(factor * STEP))
        after = script.train(size, floor.budget_flops * factor * STEP, batch_tokens, rate)
        tell(f"  {factor * STEP:6.2f} x: N {after.n_params} loss {after.loss:.4f} {after.seconds:.1f} s")
        if after.loss <= wanted:
            share = (at.loss - wanted) / (at.loss - after.loss)
            seconds = at.seconds * (after.seconds / at.seconds) ** share
            return EqualLoss(factor * STEP**share, seconds / floor.seconds, reached=True)
        factor, at = factor * STEP, after
    return EqualLoss(factor, at.seconds / floor.seconds, reached=at.loss <= wanted)


@dataclass(frozen=True)
class Answer:
    """What the script came to at one batch and one rate.

    Attributes:
        seconds: of its grid; seconds_at_equal_loss: as long as it takes where every floor has isoflop's loss.
    """

    batch_tokens: int
    rate: float
    seconds: float
    n_runs: int
    frontier: Frontier
    equal: dict[float, EqualLoss]
    seconds_at_equal_loss: float


def answer_of(script: Script, rows: Sequence[Row], ours: Frontier, batch_tokens: int, rate: float) -> Answer:
    """The script's grid at the sizes of isoflop's rows, and what it lacks to their losses."""
    sizes = {budget: sorted({row[1] for row in rows if row[0] == budget}) for budget in ours.best}
    begun = time.perf_counter()
    runs = list(script.grid(sizes, batch_tokens, rate))
    seconds = time.perf_counter() - begun
    equal: dict[float, EqualLoss] = {}
    at_equal = 0.0
    for budget, wanted in ours.best.items():
        own = [run for run in runs if run.budget_flops == budget]
        equal[budget] = equal_loss(script, min(own, key=lambda run: run.loss), wanted, batch_tokens, rate)
        at_equal += sum(run.seconds for run in own) * equal[budget].slowdown
    found = fitted([(run.budget_flops, run.n_params, run.n_tokens, run.loss) for run in runs])
    return Answer(batch_tokens, rate, seconds, len(runs), found, equal, at_equal)


def tell(line: str) -> None:
    """Progress, beside the result."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the three smallest budgets alone")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of isoflop's sweep; the script has one")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    spec = load_spec(SWEEP)
    budgets = spec.budgets[:3] if args.quick else spec.budgets
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds, rows = with_isoflop(args.seeds, budgets, folder)
        ours = fitted(rows)
        tell(f"isoflop: {len(rows)} runs in {seconds:.1f} s")
        corpus = open_corpus(spec.corpus, spec.tokenizer, root=folder / "isoflop-artifacts" / "corpora", base=folder)
        script = Script(corpus, spec.model.context_length, corpus.facts.vocab_size, spec.evaluation.tokens)
        tuned, tuning = tuned_pair(script, rows)
        answers = {name: answer_of(script, rows, ours, *pair) for name, pair in (("usual", USUAL), ("tuned", tuned))}
    document = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "isoflop": {"seconds": seconds, "seeds": args.seeds, "n_runs": len(rows), "frontier": asdict(ours)},
        "script": {name: asdict(answer) for name, answer in answers.items()},
        "tuning_seconds": tuning,
    }
    if args.json:
        args.json.write_text(json.dumps(document, indent=1))
    print(f"{cpu_name()}, {os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} threads\n")
    print("\n".join(table(seconds, len(rows), args.seeds, ours, answers, tuning)))


def tuned_pair(script: Script, rows: Sequence[Row]) -> tuple[tuple[int, float], float]:
    """The best batch and rate for the middle size of the smallest budget, and the seconds it took to find them."""
    begun = time.perf_counter()
    smallest = min(row[0] for row in rows)
    sizes = sorted({row[1] for row in rows if row[0] == smallest})
    middle = script.size_near(sizes[len(sizes) // 2])
    losses = {(batch, rate): script.train(middle, smallest, batch, rate).loss for batch in BATCHES for rate in RATES}
    tell(", ".join(f"{batch}/{rate:g}: {loss:.3f}" for (batch, rate), loss in losses.items()))
    return min(losses, key=lambda pair: losses[pair]), time.perf_counter() - begun


def table(
    seconds: float, n_runs: int, seeds: int, ours: Frontier, answers: dict[str, Answer], tuning: float
) -> Iterator[str]:
    """What both took and came to, as Markdown."""
    budgets = " | ".join(f"{budget:.2g}" for budget in ours.best)
    yield f"| | runs | wall s | times isoflop | a (90 %) | lowest loss at {budgets} |"
    yield "|---|---|---|---|---|" + "---|" * len(ours.best)
    lines = [(f"isoflop, {seeds} seed(s)", n_runs, seconds, ours)]
    for name, one in answers.items():
        label = f"script, {name} (batch {one.batch_tokens}, rate {one.rate:g})"
        lines.append((label, one.n_runs, one.seconds, one.frontier))
    for label, number, took, found in lines:
        losses = " | ".join(f"{loss:.3f}" for loss in found.best.values())
        yield f"| {label} | {number} | {took:.0f} | {took / seconds:.2f} | {found.words} | {losses} |"
    yield ""
    for name, one in answers.items():
        factors = ", ".join(f"{'' if each.reached else 'more than '}{each.factor:.1f}" for each in one.equal.values())
        more = "" if all(each.reached for each in one.equal.values()) else "more than "
        yield (
            f"For isoflop's losses the {name} script takes {factors} times the FLOPs of its floors, and its grid "
            f"{more}{one.seconds_at_equal_loss:.0f} s: {more}{one.seconds_at_equal_loss / seconds:.1f} times isoflop's."
        )
    yield f"{tuning:.0f} s of finding the tuned pair are not in these."


if __name__ == "__main__":
    main()
