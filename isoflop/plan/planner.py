"""make_plan: a sweep file's question as a list of runs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from isoflop.corpus_facts import CorpusFacts
from isoflop.errors import IsoflopError
from isoflop.plan.estimate import memory_bytes
from isoflop.plan.grid import BudgetGrid, budget_grids
from isoflop.plan.grid_findings import KeptSizes, grid_findings, optimizer_findings, rate_findings
from isoflop.plan.heldout import heldout_findings, shortage
from isoflop.plan.recipe import BUDGET_TOLERANCE, Recipe, make_recipe
from isoflop.plan.recipe_findings import beyond_findings
from isoflop.plan.shapes import ShapeRule, nearest_shape, shape_rule
from isoflop.plan.types import Cell, DroppedCell, Extra, Limit, Plan, Role
from isoflop.run_spec import LARGEST_COUNT, AnyRun, CommandRun, FactorySpec, RunSpec
from isoflop.shape import CountedShape, LadderModel, ModelShape, Shape
from isoflop.spec import SweepSpec
from isoflop.units import format_bytes, format_count, plural


def make_plan(
    spec: SweepSpec,
    corpus: CorpusFacts,
    *,
    memory_limit: float | None = None,
    extra: Sequence[Extra] = (),
) -> Plan:
    """All cells of the sweep, those that cannot be trained sensibly listed with the reason.

    Models have the vocabulary of the corpus. `memory_limit` is in bytes, of the device a run trains on; None = not
    known. `extra` runs stand beside the grid. Pure: the same arguments give the same plan.

    Raises:
        IsoflopError: the corpus is shorter than one sequence and its target.
    """
    if spec.command is None:
        _require_text(spec, corpus)
    rule = shape_rule(spec, corpus.vocab_size)
    cells: list[Cell] = []
    dropped: list[DroppedCell] = []
    left: list[KeptSizes] = []
    for grid in budget_grids(spec, rule):
        dropped.extend(_unbuildable(rule, grid))
        kept: list[Shape] = []
        for shape in grid.shapes:
            why = why_not(spec, shape, grid.budget_flops, corpus, memory_limit)
            if why is None:
                kept.append(shape)
            else:
                limit, reason = why
                dropped.append(DroppedCell(grid.budget_flops, shape, reason, limit))
        cells.extend(_cells(spec, rule, grid, kept, corpus))
        left.append(KeptSizes(grid.budget_flops, grid.centre, tuple(shape.n_params(rule.count) for shape in kept)))
    for asked in extra:
        one = _as_now(asked, rule, corpus)
        if one is None:
            continue
        refused = why_not(spec, one.shape, one.budget_flops, corpus, memory_limit)
        if refused is None:
            cells.extend(_extra_cell(spec, one, corpus))
        else:
            limit, reason = refused
            dropped.append(DroppedCell(one.budget_flops, one.shape, reason, limit))
    of_recipe = (*rate_findings(cells), *optimizer_findings(cells), *beyond_findings(spec.recipe, cells))
    of_text = heldout_findings(spec, corpus) if spec.command is None else ()
    return Plan(spec.name, tuple(cells), tuple(dropped), (*of_text, *grid_findings(left), *of_recipe))


def _as_now(asked: Extra, rule: ShapeRule, corpus: CorpusFacts) -> Extra | None:
    """A run asked for before, which may have been when the corpus had another tokenizer; None where it is no more.

    A ladder, or a factory, may have lost the model, or count it otherwise.
    """
    if isinstance(asked.shape, ModelShape):
        return None if rule.ladder else replace(asked, shape=replace(asked.shape, vocab_size=corpus.vocab_size))
    if asked.shape in rule.ladder:
        return asked
    wanted = _named(asked.shape, corpus)
    alike = [model for model in rule.ladder if _named(model, corpus) == wanted]
    return replace(asked, shape=alike[0]) if wanted and len(alike) == 1 else None


def _named(shape: Shape, corpus: CorpusFacts) -> object:
    """What a model is asked for by, whatever its counts, with the vocabulary of the corpus."""
    if isinstance(shape, LadderModel):
        return shape.arguments
    return replace(shape.asked if isinstance(shape, CountedShape) else shape, vocab_size=corpus.vocab_size)


def _require_text(spec: SweepSpec, corpus: CorpusFacts) -> None:
    length = spec.model.context_length
    why_short = shortage(spec, corpus, length + 1)
    for side, n_tokens, why in (
        ("training", corpus.n_train_tokens, ""),
        ("held-out", corpus.n_heldout_tokens, why_short),
    ):
        if n_tokens <= length:
            raise IsoflopError(
                f"The {side} text has {plural(n_tokens, 'token')}, too few for a sequence of {length}{why}.",
                hint="Use a larger corpus, a shorter model.context_length or another corpus.heldout_fraction.",
            )


def _unbuildable(rule: ShapeRule, grid: BudgetGrid) -> Iterator[DroppedCell]:
    for size in grid.unbuildable:
        shape = nearest_shape(rule, size)
        has = format_count(shape.n_params(rule.count))
        reason = f"{format_count(size)} parameters cannot be built; the nearest shape has {has}"
        if rule.ladder:
            whose = "the ladder" if rule.model.factory is None else "the factory"
            reason = f"{whose} has no model of its own near {format_count(size)} parameters; the nearest has {has}"
        yield DroppedCell(grid.budget_flops, shape, reason, Limit.SHAPE)


def why_not(
    spec: SweepSpec, shape: Shape, budget: float, corpus: CorpusFacts, memory_limit: float | None
) -> tuple[Limit, str] | None:
    """What keeps a shape from being trained at a budget, with numbers; None if nothing does."""
    if isinstance(shape, LadderModel) or spec.command is not None:
        return _why_no_whole_tokens(shape, budget) or _why_too_often(spec, shape, budget, corpus)
    recipe = make_recipe(spec.recipe, shape, budget)
    if recipe is None:
        return Limit.WHOLE_STEPS, f"no number of whole steps spends the budget within {BUDGET_TOLERANCE:.1%}"
    devices = spec.devices_per_run
    refused = _why_not_so_stepped(spec, recipe, shape.context_length, devices)
    refused = refused or _why_too_often(spec, shape, budget, corpus)
    if refused is not None:
        return refused
    needed = memory_bytes(shape, among_ranks=devices > 1)
    if memory_limit is not None and needed > memory_limit:
        has = format_bytes(memory_limit)
        return Limit.MEMORY, f"needs about {format_bytes(needed)} of memory, the device has {has}"
    return None


def _why_no_whole_tokens(shape: Shape, budget: float) -> tuple[Limit, str] | None:
    """What keeps whole tokens from spending the budget; None if nothing does."""
    n_tokens = round(budget / shape.flops_per_token)
    if n_tokens > LARGEST_COUNT:
        return Limit.OTHER, _too_many(n_tokens)
    if abs(n_tokens * shape.flops_per_token / budget - 1) > BUDGET_TOLERANCE:
        return Limit.WHOLE_STEPS, f"no number of whole tokens spends the budget within {BUDGET_TOLERANCE:.1%}"
    return None


def _why_too_often(spec: SweepSpec, shape: Shape, budget: float, corpus: CorpusFacts) -> tuple[Limit, str] | None:
    """By how much the run repeats its corpus too often; None where it does not."""
    epochs = budget / shape.flops_per_token / corpus.n_train_tokens
    if epochs <= spec.recipe.max_epochs:
        return None
    more = f"more than recipe.max_epochs = {spec.recipe.max_epochs:g}"
    return Limit.EPOCHS, f"{epochs:.1f} epochs of the corpus, {more}"


def _too_many(n_tokens: int) -> str:
    return f"{n_tokens:.3g} tokens, more than the {LARGEST_COUNT:.3g} that a database counts"


def _why_not_so_stepped(spec: SweepSpec, recipe: Recipe, context_length: int, devices: int) -> tuple[Limit, str] | None:
    """What is wrong with the number or the size of a run's steps; None if nothing is."""
    n_tokens = recipe.n_steps * recipe.batch_sequences * context_length
    if n_tokens > LARGEST_COUNT:
        return Limit.OTHER, _too_many(n_tokens)
    if recipe.n_steps < spec.recipe.min_steps:
        steps = plural(recipe.n_steps, "optimizer step")
        return Limit.STEPS, f"{steps}, fewer than recipe.min_steps = {spec.recipe.min_steps}"
    if recipe.batch_sequences < devices:
        sequences = plural(recipe.batch_sequences, "sequence")
        return Limit.RANKS, f"a batch of {sequences}, fewer than run.devices_per_run = {devices}"
    return None


def _cells(
    spec: SweepSpec, rule: ShapeRule, grid: BudgetGrid, shapes: list[Shape], corpus: CorpusFacts
) -> Iterator[Cell]:
    nearest = min(shapes, key=lambda s: abs(s.n_params(rule.count) / grid.centre - 1), default=None)
    for shape in shapes:
        n_seeds = spec.grid.seeds + (spec.grid.center_seeds if shape == nearest else 0)
        for index in range(n_seeds):
            run = run_of(spec, shape, grid.budget_flops, corpus, seed=spec.grid.first_seed + index)
            role = Role.GRID if index < spec.grid.seeds else Role.REPLICATE
            yield Cell(role, grid.budget_flops, run, epochs=run.n_tokens / corpus.n_train_tokens)


def _extra_cell(spec: SweepSpec, one: Extra, corpus: CorpusFacts) -> Iterator[Cell]:
    run = run_of(spec, one.shape, one.budget_flops, corpus, seed=one.seed)
    if one.run_id in (None, run.run_id):
        yield Cell(one.role, one.budget_flops, run, epochs=run.n_tokens / corpus.n_train_tokens)


def planned_tokens(spec: SweepSpec, shape: Shape, budget: float) -> int | None:
    """Training tokens of a shape at a budget; None where no whole steps meet it."""
    if spec.command is not None or isinstance(shape, LadderModel):
        return round(budget / shape.flops_per_token)
    recipe = make_recipe(spec.recipe, shape, budget)
    return None if recipe is None else recipe.n_steps * recipe.batch_sequences * shape.context_length


def run_of(spec: SweepSpec, shape: Shape, budget: float, corpus: CorpusFacts, *, seed: int) -> AnyRun:
    """The run of a shape at a budget by the sweep's own recipe, for a shape that `why_not` has nothing against."""
    if spec.command is not None:
        return CommandRun(
            trainer="command",
            shape=shape,
            n_tokens=round(budget / shape.flops_per_token),
            seed=seed,
            argv=spec.command.argv,
            env=spec.command.env,
            code_hash=spec.command.code_hash,
        )
    assert not isinstance(shape, LadderModel)
    assert spec.trainer != "command"
    recipe = make_recipe(spec.recipe, shape, budget)
    assert recipe is not None  # why_not dropped the others
    return RunSpec(
        trainer=spec.trainer,
        shape=shape,
        n_steps=recipe.n_steps,
        batch_sequences=recipe.batch_sequences,
        schedule=recipe.schedule,
        optimizer=recipe.optimizer,
        seed=seed,
        corpus_fingerprint=corpus.fingerprint,
        tokenizer=corpus.tokenizer,
        eval_tokens=spec.evaluation.tokens,
        factory=None
        if spec.model.factory is None
        else FactorySpec(name=spec.model.factory, code_hash=spec.model.factory_hash),
    )
