"""make_plan: a sweep file's question as a list of runs."""

from collections.abc import Iterator

from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.finding import Finding, Severity
from isoflop.plan.estimate import memory_bytes
from isoflop.plan.grid import BudgetGrid, budget_grids
from isoflop.plan.recipe import BUDGET_TOLERANCE, make_recipe
from isoflop.plan.shapes import ShapeRule, nearest_shape
from isoflop.plan.types import Cell, DroppedCell, Plan, Role
from isoflop.run_spec import RunSpec
from isoflop.shape import ModelShape
from isoflop.spec import SweepSpec
from isoflop.units import format_bytes, format_count, format_flops

# Below this many sizes a parabola has too few degrees of freedom to say how sure it is.
FEWEST_SIZES = 5
# Sizes wanted on each side of the centre, so that a floor off the first guess is still bracketed.
ROOM = 2


def make_plan(spec: SweepSpec, corpus: CorpusFacts, *, vocab_size: int, memory_limit: float | None = None) -> Plan:
    """All cells of the sweep, those that cannot be trained sensibly listed with the reason.

    `memory_limit` is in bytes, of the device a run trains on; None = not known. Pure: the same arguments give
    the same plan.

    Raises:
        IsoflopError: the corpus is shorter than one sequence and its target.
    """
    _require_text(spec, corpus)
    rule = ShapeRule(spec.model, vocab_size, spec.fit.params)
    cells: list[Cell] = []
    dropped: list[DroppedCell] = []
    findings = list(_heldout_findings(spec, corpus))
    for grid in budget_grids(spec, rule):
        dropped.extend(_unbuildable(rule, grid))
        kept: list[ModelShape] = []
        for shape in grid.shapes:
            reason = _why_not(spec, shape, grid.budget_flops, corpus, memory_limit)
            if reason is None:
                kept.append(shape)
            else:
                dropped.append(DroppedCell(grid.budget_flops, shape, reason))
        cells.extend(_cells(spec, rule, grid, kept, corpus))
        findings.extend(_grid_findings(rule, grid, kept))
    return Plan(spec.name, tuple(cells), tuple(dropped), tuple(findings))


def _require_text(spec: SweepSpec, corpus: CorpusFacts) -> None:
    for side, n_tokens in (("training", corpus.n_train_tokens), ("held-out", corpus.n_heldout_tokens)):
        if n_tokens <= spec.model.context_length:
            raise IsoflopError(
                f"The {side} text has {n_tokens} tokens, too few for a sequence of {spec.model.context_length}.",
                hint="Use a larger corpus, a shorter model.context_length or another corpus.heldout_fraction.",
            )


def _heldout_findings(spec: SweepSpec, corpus: CorpusFacts) -> Iterator[Finding]:
    if corpus.n_heldout_tokens < spec.evaluation.tokens:
        yield Finding(
            "short_heldout",
            Severity.WARNING,
            f"The held-out text has {corpus.n_heldout_tokens} tokens, fewer than evaluation.tokens = "
            f"{spec.evaluation.tokens}.",
            "All of it is used and the loss is less certain; raise corpus.heldout_fraction or use a larger corpus.",
            {"n_heldout_tokens": corpus.n_heldout_tokens, "wanted": spec.evaluation.tokens},
        )


def _unbuildable(rule: ShapeRule, grid: BudgetGrid) -> Iterator[DroppedCell]:
    for size in grid.unbuildable:
        shape = nearest_shape(rule, size)
        has = format_count(shape.n_params(rule.count))
        reason = f"{format_count(size)} parameters cannot be built; the nearest shape has {has}"
        yield DroppedCell(grid.budget_flops, shape, reason)


def _why_not(
    spec: SweepSpec, shape: ModelShape, budget: float, corpus: CorpusFacts, memory_limit: float | None
) -> str | None:
    recipe = make_recipe(spec.recipe, shape, budget)
    if recipe is None:
        return f"no number of whole steps spends the budget within {BUDGET_TOLERANCE:.1%}"
    if recipe.n_steps < spec.recipe.min_steps:
        return f"{recipe.n_steps} optimizer steps, fewer than recipe.min_steps = {spec.recipe.min_steps}"
    epochs = budget / shape.flops_per_token / corpus.n_train_tokens
    if epochs > spec.recipe.max_epochs:
        return f"{epochs:.1f} epochs of the corpus, more than recipe.max_epochs = {spec.recipe.max_epochs:g}"
    needed = memory_bytes(shape)
    if memory_limit is not None and needed > memory_limit:
        return f"needs about {format_bytes(needed)} of memory, the device has {format_bytes(memory_limit)}"
    return None


def _cells(
    spec: SweepSpec, rule: ShapeRule, grid: BudgetGrid, shapes: list[ModelShape], corpus: CorpusFacts
) -> Iterator[Cell]:
    nearest = min(shapes, key=lambda s: abs(s.n_params(rule.count) / grid.centre - 1), default=None)
    for shape in shapes:
        n_seeds = spec.grid.seeds + (spec.grid.center_seeds if shape == nearest else 0)
        for index in range(n_seeds):
            run = _run_spec(spec, shape, grid.budget_flops, corpus, seed=spec.grid.first_seed + index)
            role = Role.GRID if index < spec.grid.seeds else Role.REPLICATE
            yield Cell(role, grid.budget_flops, run, epochs=run.n_tokens / corpus.n_train_tokens)


def _run_spec(spec: SweepSpec, shape: ModelShape, budget: float, corpus: CorpusFacts, *, seed: int) -> RunSpec:
    recipe = make_recipe(spec.recipe, shape, budget)
    assert recipe is not None  # _why_not dropped the others
    return RunSpec(
        trainer=spec.trainer,
        shape=shape,
        n_steps=recipe.n_steps,
        batch_sequences=recipe.batch_sequences,
        schedule=recipe.schedule,
        optimizer=recipe.optimizer,
        seed=seed,
        corpus_fingerprint=corpus.fingerprint,
        tokenizer=spec.tokenizer.kind,
        eval_tokens=spec.evaluation.tokens,
    )


def _grid_findings(rule: ShapeRule, grid: BudgetGrid, kept: list[ModelShape]) -> Iterator[Finding]:
    budget = format_flops(grid.budget_flops)
    values = {"budget_flops": grid.budget_flops, "n_sizes": len(kept)}
    if len(kept) < FEWEST_SIZES:
        yield Finding(
            "few_sizes",
            Severity.WARNING,
            f"Budget {budget} keeps {len(kept)} sizes, fewer than {FEWEST_SIZES}.",
            "Raise grid.sizes, move the centre, or see the reasons of the dropped cells.",
            values,
        )
    sides = {
        "below": sum(shape.n_params(rule.count) < grid.centre * 0.999 for shape in kept),
        "above": sum(shape.n_params(rule.count) > grid.centre * 1.001 for shape in kept),
    }
    for side, n_sizes in sides.items():
        if n_sizes < ROOM and kept:
            yield Finding(
                f"no_room_{side}",
                Severity.WARNING,
                f"Budget {budget} has {n_sizes} sizes {side} its centre of {format_count(grid.centre)} parameters.",
                "A floor on that side would not be bracketed: move the centre, widen the grid, "
                "or see the reasons of the dropped cells.",
                {**values, "centre": grid.centre, "side": side},
            )
