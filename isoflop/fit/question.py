"""What a fit is asked, and the two ways of calling it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from numpy.typing import ArrayLike

from isoflop.fit.estimators.surface import HUBER, RESIDUALS
from isoflop.fit.rows import Columns, Curves, check_columns

# From a budget, FLOPs, and N to the nearest size that can be trained there; None where none can.
Trainable = Callable[[float, float], float | None]
# From a budget, FLOPs, and N to the device-hours that such a run takes.
Hours = Callable[[float, float], float]


@dataclass(frozen=True)
class Question:
    """Where to read a fit, how sure to be, and what else to look at.

    Attributes:
        targets: budgets, FLOPs, at which to read the recommended estimate; answered in this order.
        level: nominal coverage of every interval.
        window: decades about each budget's best run beyond which the recommended estimate leaves rows out, where the
            grid reaches more than 0.9 decades; None for all rows.
        residuals: what of the residuals of log loss the surface minimises: `huber`, `squares` or `absolute`.
        suggest: how many runs to suggest, for the first target or else ten times the largest budget.
        planned: FLOPs and parameters of runs that will be trained anyway: suggestions go on from there.
        trainable: from a budget and N to the nearest size that can be suggested, None where none can; any without it.
        hours: device-hours of a suggested run; None where no device is known.
        max_hours: device-hours that the suggested runs may take together; None for any number.
        curves: points of the runs' training curves before their ends; without them there is no envelope.
        bootstrap: how many frontiers of resampled runs to fit for a figure.

    Raises:
        ValueError: `level` is not between 0 and 1; `window` is not positive, nor `max_hours`, or no hours are known for
            it; a count is negative; `residuals` is unknown; a number in `targets`, `planned` or `curves` is not finite
            and positive.
    """

    targets: Sequence[float] = ()
    level: float = 0.90
    window: float | None = None
    residuals: str = HUBER
    suggest: int = 0
    planned: Sequence[tuple[float, float]] = ()
    trainable: Trainable | None = None
    hours: Hours | None = None
    max_hours: float | None = None
    curves: Curves | None = None
    bootstrap: int = 0

    def __post_init__(self) -> None:
        (targets,) = check_columns(targets=self.targets)
        object.__setattr__(self, "targets", tuple(targets.tolist()))
        object.__setattr__(self, "planned", tuple(self.planned))
        self._check_options()
        check_columns(planned_flops=[c for c, _ in self.planned], planned_params=[n for _, n in self.planned])
        if self.curves is not None:
            check_columns(**vars(self.curves))

    def _check_options(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}, not between 0 and 1")
        if self.window is not None and not 0 < self.window < float("inf"):
            raise ValueError(f"window is {self.window} decades, not finite and positive")
        if self.max_hours is not None and not (self.hours and 0 < self.max_hours < float("inf")):
            raise ValueError(f"max_hours is {self.max_hours}, not finite and positive, or no hours are known")
        if min(self.suggest, self.bootstrap) < 0:
            counts = (self.suggest, self.bootstrap)
            raise ValueError(f"counts of runs and of frontiers asked for are {counts}, of which one is negative")
        if self.residuals not in RESIDUALS:
            raise ValueError(f"residuals is {self.residuals!r}, not one of {', '.join(RESIDUALS)}")


class Options(TypedDict, total=False):
    """What a call with arrays may name beside them, as in `Columns` and `Question`."""

    loss_se: ArrayLike | None
    trunk: Sequence[str | None] | None
    targets: Sequence[float]
    level: float
    window: float | None
    residuals: str
    suggest: int
    planned: Sequence[tuple[float, float]]
    trainable: Trainable | None
    hours: Hours | None
    max_hours: float | None
    curves: Curves | None
    bootstrap: int


def read_call(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Columns, Question]:
    """The columns and the question of a call: given as such, or as arrays and options one by one."""
    if "columns" in named or (given and isinstance(given[0], Columns)):
        return _read_types(*given, **named)
    of_columns = {column.name for column in fields(Columns)} & named.keys()
    columns = Columns(*given, **{name: named[name] for name in of_columns})
    return columns, Question(**{name: value for name, value in named.items() if name not in of_columns})


def _read_types(columns: Columns, question: Question | None = None) -> tuple[Columns, Question]:
    return columns, question or Question()
