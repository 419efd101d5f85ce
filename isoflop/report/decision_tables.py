"""A decision as tables."""

from isoflop.decision.buildable import Buildable
from isoflop.decision.cost import CostRates, TrainingCost
from isoflop.decision.decide import Decision
from isoflop.decision.overtraining import InferenceOptimum, SmallerModel
from isoflop.decision.repeats import Repeats
from isoflop.report.fit_wording import PARAM_COUNT, nats
from isoflop.shape import LadderModel
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count, ratio, two_digits

_SMALLER_NOTE = (
    "Read from the fitted surface, moved to the target's own N_opt, D_opt and loss, at what a token costs in the rows. "
    "Same loss: the lowest loss that the budget reaches (Sardana et al. 2024); a dash: no number of tokens brings this "
    "size to that loss. Beyond the D/N of the fitted runs, surfaces are too optimistic about more tokens (ibid.)."
)
_INFERENCE_NOTE = (
    "The model with the lowest FLOPs of training and use at the lowest loss of the budget (Sardana et al. 2024). A "
    "token served costs a third of one trained on: 2 N where that is 6 N. Saved: share of the lifetime FLOPs of the "
    "model that is compute-optimal."
)
_REPEATS_NOTE = "Worth: the number of fresh tokens with the same effect (Muennighoff et al. 2023, R* = 15.4 epochs)."


def decision_tables(decision: Decision) -> tuple[Table, ...]:
    """The tables of what is known, in reading order."""
    tables = (
        _buildable_table(decision) if decision.buildable else None,
        _cost_table(decision.rates, decision.cost) if decision.rates and decision.cost else None,
        _smaller_table(decision.smaller) if decision.smaller else None,
        _inference_table(decision.inference) if decision.inference else None,
        _repeats_table(decision.repeats) if decision.repeats else None,
    )
    return tuple(table for table in tables if table is not None)


def _buildable_table(decision: Decision) -> Table:
    return Table(
        title=f"Shapes for {format_flops(decision.budget_flops)} FLOPs",
        columns=(
            Column("layers x width", numeric=False, whole=True),
            Column("heads", numeric=False, essential=False),
            Column("MLP"),
            Column("N"),
            Column("of N_opt"),
            Column("D", spare=1),
            Column("D/N", spare=5),
            Column("steps", spare=3),
            Column("batch", spare=4),
            Column("rate", spare=2),
            Column("hidden rate", essential=False),
        ),
        rows=tuple(_buildable_row(built) for built in decision.buildable),
        note=f"N: {PARAM_COUNT[decision.param_count]}. D spends the budget exactly, as the fit counts FLOPs; batch in "
        "tokens. Peak rates: of embedding and norms, and of hidden matrices.",
    )


def _buildable_row(built: Buildable) -> tuple[str, ...]:
    shape = built.shape
    ours = (
        (f"{shape.n_layers}x{shape.width}", f"{shape.n_heads}x{shape.head_dim}", str(shape.d_ff))
        if not isinstance(shape, LadderModel)
        else (str(shape), ABSENT, ABSENT)
    )
    return (
        *ours,
        count(built.n_params),
        f"{100 * (built.relative_to_optimum - 1):+.1f} %",
        count(built.n_tokens),
        ratio(built.tokens_per_param),
        count(built.recipe.n_steps) if built.recipe else ABSENT,
        count(built.batch_tokens),
        two_digits(built.learning_rate),
        two_digits(built.hidden_learning_rate),
    )


def _cost_table(rates: CostRates, cost: TrainingCost) -> Table:
    return Table(
        title="Cost",
        columns=(
            Column("device-hours"),
            Column("money"),
            Column("devices"),
            Column("days"),
            Column("FLOP/s", essential=False),
            Column("utilisation", essential=False),
            Column("per hour", essential=False),
        ),
        rows=(
            (
                count(cost.device_hours),
                count(cost.money),
                str(rates.n_devices),
                count(cost.days),
                format_flops(rates.peak_flops_per_second),
                f"{100 * rates.utilisation:.3g} %",
                f"{rates.price_per_device_hour:g}",
            ),
        ),
        note="Money in the currency of the price; the utilisation is assumed to be the same on any number of devices.",
    )


def _smaller_table(models: tuple[SmallerModel, ...]) -> Table:
    return Table(
        title="Smaller models",
        columns=(
            Column("of N_opt"),
            Column("N"),
            Column("D, same loss", spare=1),
            Column("FLOPs, same loss"),
            Column("loss, same FLOPs", spare=2),
        ),
        rows=tuple(
            (
                "1" if model.share == 1 else f"1/{1 / model.share:.0f}",
                count(model.n_params),
                count(model.n_tokens),
                _times(model.flops_ratio),
                nats(model.loss_same_budget),
            )
            for model in models
        ),
        note=_SMALLER_NOTE,
    )


def _inference_table(best: InferenceOptimum) -> Table:
    return Table(
        title="Model for deployment",
        columns=(
            Column("tokens served"),
            Column("N"),
            Column("D"),
            Column("training FLOPs", spare=2),
            Column("lifetime FLOPs", spare=1),
            Column("saved"),
        ),
        rows=(
            (
                count(best.inference_tokens),
                count(best.n_params),
                count(best.n_tokens),
                format_flops(best.training_flops),
                format_flops(best.lifetime_flops),
                f"{max(100 * best.saved_share, 0.0):.0f} %",
            ),
        ),
        note=_INFERENCE_NOTE,
    )


def _repeats_table(repeats: Repeats) -> Table:
    return Table(
        title="Repeated data",
        columns=(
            Column("corpus"),
            Column("D"),
            Column("epochs"),
            Column("worth", spare=1),
            Column("costs nats"),
            Column("corpus for 4 epochs", spare=2),
        ),
        rows=(
            (
                count(repeats.corpus_tokens),
                count(repeats.n_tokens),
                ratio(repeats.epochs),
                count(repeats.effective_tokens),
                two_digits(repeats.cost_nats),
                count(repeats.corpus_for_nearly_free),
            ),
        ),
        note=_REPEATS_NOTE,
    )


def _times(factor: float | None) -> str:
    """`1.26x`."""
    return ABSENT if factor is None else f"{count(factor)}x"
