"""From sources to a summary, as `fit` and `report` both need it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from isoflop.counting import FlopCount
from isoflop.decision.cost import CostRates
from isoflop.errors import IsoflopError
from isoflop.fit import Question
from isoflop.fit.laws import PUBLISHED, PublishedLaw
from isoflop.plan.run_hours import RunHours
from isoflop.report.metric_table import fits_on_loss_and_metric
from isoflop.report.summary import Questions, Summary, summarize
from isoflop.shape import ParamCount
from isoflop.sources.columns.column_request import parse_columns
from isoflop.sources.columns.conditions import parse_where
from isoflop.sources.columns.header import OPTIONAL, REQUIRED
from isoflop.sources.columns.loss_scale import LossUnit
from isoflop.sources.grouping import Grouping, grouped
from isoflop.sources.load import load_each, load_sources
from isoflop.sources.recount import convention_matrix, under_convention
from isoflop.sources.remeasure import LossIn, Wanted
from isoflop.sources.source import Pool, Source, fit_source
from isoflop.sources.source_hours import source_hours, waiting_runs
from isoflop.sources.table_options import TableOptions
from isoflop.units import parse_quantity, require_positive

LOWEST_LEVEL, HIGHEST_LEVEL = 0.5, 0.999
LEAST_WINDOW, MOST_WINDOW = 0.1, 10.0
MOST_TOLERANCE = 0.5
EVERY_LAW = "all"
# What can be meant: a training of more than one step of one token up to far beyond every computer, tokens up to all
# that is ever written, a device from a microcontroller to a building.
_TRAININGS, _TOKENS, _PEAKS = (1e3, 1e40), (1.0, 1e20), (1e6, 1e22)


@dataclass(frozen=True)
class Request:
    """What the command line asks of its sources, as it was typed.

    Attributes:
        db, sweep: where sweeps are read.
        columns, budget_tolerance, budgets, where, group, loss_unit, higher_is_better, unit_check: how tables are read.
        loss, metric: what of the runs of sweeps is fitted.
        targets, level, window, surface_loss, suggest, max_hours, bootstrap: of the fit.
        params, flops: conventions other than the sweep's own.
        laws: names of published laws, or `all`.
        peak, utilisation, price, devices: of the bill; without a peak there is none.
        corpus_tokens, inference_tokens: for what repeats cost, and for smaller models.
    """

    db: Path
    sweep: str | None = None
    columns: Sequence[str] = ()
    budget_tolerance: float | None = None
    budgets: str | None = None
    where: Sequence[str] = ()
    group: str | None = None
    loss_unit: str | None = None
    higher_is_better: bool = False
    unit_check: bool = True
    loss: LossIn | None = None
    metric: str | None = None
    targets: Sequence[str] = ()
    level: float = 0.90
    window: float | None = None
    surface_loss: str = "huber"
    suggest: int = 0
    max_hours: float | None = None
    bootstrap: int = 0
    params: ParamCount | None = None
    flops: FlopCount = FlopCount.EXACT
    laws: Sequence[str] = ()
    peak: str | None = None
    utilisation: float = 0.4
    price: float = 0.0
    devices: int = 1
    corpus_tokens: str | None = None
    inference_tokens: str | None = None


def read_and_fit(sources: Sequence[str], request: Request) -> Summary:
    """Read the rows of all `sources`, fit them as one and say what came out.

    Raises:
        IsoflopError: an unusable source or option.
    """
    budgets = target_budgets(request)
    options, wanted = _table_options(request), Wanted(request.metric, request.loss)
    rows = load_sources(sources, db=request.db, sweep=request.sweep, options=options, wanted=wanted)
    return _summary(rows, request, budgets)


def read_and_fit_each(sources: Sequence[str], request: Request) -> list[Summary]:
    """The same of every source by itself, or with --group of every group of rows.

    Raises:
        IsoflopError: an unusable source or option.
    """
    budgets = target_budgets(request)
    options, wanted = _table_options(request), Wanted(request.metric, request.loss)
    parts = load_each(sources, db=request.db, sweep=request.sweep, options=options, wanted=wanted)
    return [_summary(part, request, budgets) for part in parts]


def read_and_compare(sources: Sequence[str], request: Request) -> list[Summary]:
    """The same, to be compared: two or more.

    Raises:
        IsoflopError: fewer than two sources, or an unusable source or option.
    """
    for option in ("suggest", "laws", "peak", "corpus_tokens", "inference_tokens"):
        if getattr(request, option):
            name = "law" if option == "laws" else option.replace("_", "-")
            raise IsoflopError(
                f"--compare cannot be combined with --{name}.",
                hint=f"Leave out --compare, and give --{name} with one source at a time.",
            )
    summaries = read_and_fit_each(sources, request)
    if len(summaries) < 2:
        raise IsoflopError("--compare needs two sources or more.", hint="Give them one after the other: A B.")
    return summaries


def _table_options(request: Request) -> TableOptions:
    return TableOptions(
        columns=parse_columns(request.columns, REQUIRED + OPTIONAL),
        where=parse_where(request.where),
        group=request.group,
        loss_unit=LossUnit(request.loss_unit) if request.loss_unit else None,
        higher_is_better=request.higher_is_better,
        check_units=request.unit_check,
    )


def target_budgets(request: Request) -> list[float]:
    """The targets in FLOPs.

    Raises:
        IsoflopError: a target is no number, or level or window is none that a fit can have.
    """
    if not LOWEST_LEVEL <= request.level <= HIGHEST_LEVEL:
        raise IsoflopError(
            f"--level {request.level:g} is not a coverage this fit can give.",
            hint=f"Choose one between {LOWEST_LEVEL:g} and {HIGHEST_LEVEL:g}, such as 0.9.",
        )
    if request.window is not None and not LEAST_WINDOW <= request.window <= MOST_WINDOW:
        raise IsoflopError(
            f"--window {request.window:g} is not a usable number of decades.",
            hint=f"Give decades of N between {LEAST_WINDOW:g} and {MOST_WINDOW:g}; 0.6 predicts published sweeps best.",
        )
    return [_bounded(target, "--target in FLOPs", _TRAININGS) for target in request.targets]


def _summary(source: Source | Pool, request: Request, budgets: Sequence[float]) -> Summary:
    questions = Questions(
        laws=_laws(request.laws),
        rates=_rates(request),
        corpus_tokens=_tokens(request.corpus_tokens, "--corpus-tokens"),
        inference_tokens=_tokens(request.inference_tokens, "--inference-tokens"),
    )
    rows = grouped(under_convention(source, request.params, request.flops), _grouping(request))
    as_planned = request.params is None and request.flops is FlopCount.EXACT
    hours = source_hours(source) if as_planned else None
    question = Question(
        targets=budgets,
        level=request.level,
        window=request.window,
        residuals=request.surface_loss,
        suggest=request.suggest,
        planned=waiting_runs(source) if as_planned else (),
        hours=hours,
        max_hours=_max_hours(request, hours),
        bootstrap=request.bootstrap,
    )
    fit = fit_source(rows, question)
    return summarize(
        rows,
        fit,
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commands=[["isoflop", *sys.argv[1:]]],
        questions=questions,
        convention_fits=convention_matrix(source, request.level, request.window),
        measure_fits=fits_on_loss_and_metric(rows, request.level, request.window),
    )


def _max_hours(request: Request, hours: RunHours | None) -> float | None:
    """The hours that suggested runs may take.

    Raises:
        IsoflopError: no hours, nothing to suggest, or nobody knows how long a run takes.
    """
    if request.max_hours is None:
        return None
    if not request.suggest:
        raise IsoflopError("--max-hours has no effect without --suggest.", hint="Give a number of runs: --suggest 7.")
    if hours is None:
        raise IsoflopError(
            "--max-hours needs to know how long a run takes, and no device is known for these rows.",
            hint="Leave it out, or fit one sweep of runs that isoflop has trained, with its own --params and --flops.",
        )
    return require_positive(request.max_hours, "--max-hours")


def _grouping(request: Request) -> Grouping:
    if request.budget_tolerance is not None and not 0 <= request.budget_tolerance <= MOST_TOLERANCE:
        raise IsoflopError(
            f"--budget-tolerance {request.budget_tolerance:g} is not a share that runs of one budget may differ by.",
            hint=f"Give a number between 0 and {MOST_TOLERANCE:g}, such as 0.02 for 2 %.",
        )
    named = request.budgets.split(",") if request.budgets is not None else []
    return Grouping(request.budget_tolerance, tuple(_bounded(one, "--budgets in FLOPs", _TRAININGS) for one in named))


def _tokens(given: str | None, what: str) -> float | None:
    return None if given is None else _bounded(given, what, _TOKENS)


def _bounded(given: str, what: str, bounds: tuple[float, float]) -> float:
    """The quantity; what lies far outside all experience is a slip of the keyboard, and its answers would be absurd."""
    value = parse_quantity(given, what=what)
    low, high = bounds
    if not low <= value <= high:
        raise IsoflopError(
            f"{what} is {given}, outside the range that makes sense here.",
            hint=f"Give a number between {low:g} and {high:g}.",
        )
    return value


def _rates(request: Request) -> CostRates | None:
    if request.peak is None:
        if (request.utilisation, request.price, request.devices) != (
            Request.utilisation,
            Request.price,
            Request.devices,
        ):
            raise IsoflopError(
                "--utilisation, --price and --devices have no effect without --peak.",
                hint="Give the peak of a device in FLOP/s, such as --peak 989e12.",
            )
        return None
    peak = _bounded(request.peak, "--peak in FLOP/s", _PEAKS)
    return CostRates(peak, request.utilisation, request.price, request.devices)


def _laws(names: Sequence[str]) -> tuple[PublishedLaw, ...]:
    known = {law.name: law for law in PUBLISHED}
    if EVERY_LAW in names:
        return PUBLISHED
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise IsoflopError(
                f"There is no published law {name!r}.",
                hint=f"{f'Did you mean {near[0]}? ' if near else ''}Choose from {', '.join(known)}, or `all`.",
            )
    return tuple(known[name] for name in dict.fromkeys(names))
