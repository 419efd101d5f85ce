"""How tables are to be read."""

from dataclasses import dataclass

from isoflop.sources.columns.column_request import ColumnRequest
from isoflop.sources.columns.conditions import Condition
from isoflop.sources.columns.loss_scale import LossUnit


@dataclass(frozen=True)
class TableOptions:
    """What the command line says of the tables among its sources.

    Attributes:
        columns: where our columns come from; the first that a table can meet counts.
        where: what rows must meet to be read.
        group: the column whose every value is a source of its own.
        loss_unit: of the column of losses; None where its name tells.
        higher_is_better: whether the loss is a score.
        check_units: whether C / (6 N D) and tokens per parameter must be those of a training.
    """

    columns: tuple[ColumnRequest, ...] = ()
    where: tuple[Condition, ...] = ()
    group: str | None = None
    loss_unit: LossUnit | None = None
    higher_is_better: bool = False
    check_units: bool = True

    @property
    def given(self) -> str | None:
        """The first option that concerns tables alone and was given."""
        options = {
            "--column": self.columns,
            "--where": self.where,
            "--group": self.group,
            "--loss-unit": self.loss_unit,
            "--higher-is-better": self.higher_is_better,
            "--no-unit-check": not self.check_units,
        }
        return next((name for name, value in options.items() if value), None)

    @property
    def words(self) -> list[str]:
        """What was given, but for --column, as words of a command line."""
        return [
            *(word for condition in self.where for word in ("--where", str(condition))),
            *(("--group", self.group) if self.group is not None else ()),
            *(("--loss-unit", self.loss_unit.value) if self.loss_unit else ()),
            *(("--higher-is-better",) if self.higher_is_better else ()),
            *(() if self.check_units else ("--no-unit-check",)),
        ]
