"""Published laws beside a fit."""

from collections.abc import Sequence

from isoflop.fit.laws import PublishedLaw
from isoflop.fit.results.target import Target
from isoflop.report.fit_wording import exponent, nats
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count


def law_table(laws: Sequence[PublishedLaw], targets: Sequence[Target]) -> Table | None:
    """What each law says at every target, and the fit's N_opt over it; None without laws or targets."""
    if not laws or not targets:
        return None
    return Table(
        title="Published laws",
        columns=(
            Column("law", numeric=False),
            Column("a", spare=3),
            Column("FLOPs", spare=2),
            Column("N_opt", spare=1),
            Column("D_opt", spare=4),
            Column("loss", essential=False),
            Column("fit / law"),
            Column("N counts", numeric=False, essential=False),
        ),
        rows=tuple(_row(law, target) for target in targets for law in laws),
        note="Each law is read at C = 6 N D, with N counted as in its paper; losses are of its own data and tokens. "
        "fit / law: ratio of N_opt.",
    )


def laws_document(laws: Sequence[PublishedLaw], targets: Sequence[Target]) -> list[dict[str, object]]:
    """The same as JSON objects, one per law and target."""
    return [
        {
            "law": law.name,
            "source": law.source,
            "param_count": law.param_count,
            "exponent_a": law.exponent_a,
            "exponent_b": law.exponent_b,
            "budget_flops": target.budget_flops,
            "n_opt": law.n_opt(target.budget_flops),
            "d_opt": law.d_opt(target.budget_flops),
            "loss": law.loss(target.budget_flops),
            "n_opt_ratio": _ratio(law, target),
        }
        for target in targets
        for law in laws
    ]


def _row(law: PublishedLaw, target: Target) -> tuple[str, ...]:
    ratio = _ratio(law, target)
    return (
        law.label,
        exponent(law.exponent_a),
        format_flops(target.budget_flops),
        count(law.n_opt(target.budget_flops)),
        count(law.d_opt(target.budget_flops)),
        nats(law.loss(target.budget_flops)),
        ABSENT if ratio is None else f"{ratio:.2f}",
        law.param_count.replace("_", "-"),
    )


def _ratio(law: PublishedLaw, target: Target) -> float | None:
    return None if target.n_opt is None else target.n_opt / law.n_opt(target.budget_flops)
