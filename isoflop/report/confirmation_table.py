"""Confirm runs as a table: each size at C against what was predicted for it before."""

from collections.abc import Iterator

from isoflop.decision.confirmation import Confirmation, Neighbour
from isoflop.report.fit_wording import interval, nats, percent
from isoflop.store import Prediction, RunCell
from isoflop.units import format_flops
from isoflop.view.table import Column, Table
from isoflop.wording import ABSENT, count, two_digits


def confirmation_table(confirmations: tuple[Confirmation, ...]) -> Table | None:
    """A row for each confirm run and each neighbour; None without any."""
    if not confirmations:
        return None
    level = percent(confirmations[0].prediction.level)
    units = ", ".join(dict.fromkeys(one.prediction.loss_unit for one in confirmations))
    return Table(
        title="Confirm runs",
        columns=(
            Column("FLOPs"),
            Column("size", numeric=False),
            Column("N", spare=3),
            Column("D", spare=4),
            Column("predicted", spare=1),
            Column(f"{level} interval", spare=2),
            Column("reached"),
            Column("error", essential=False),
            Column("standard errors", numeric=False),
            Column("predicted on", numeric=False, essential=False),
            Column("run", numeric=False, essential=False, whole=True),
        ),
        rows=tuple(row for one in confirmations for row in _rows(one)),
        note=f"Never fitted. Losses in {units}, whatever else is fitted. Predictions were stored before the runs "
        "existed; their intervals hold the errors of the law, of N_opt, and one run's noise. Standard errors: for the "
        "optimum, loss less predicted loss; for N/2 and 2N, loss less that of the optimum, by the noise of two runs. "
        "Error: of the loss over held-out sequences, which are the same for all runs.",
    )


def _rows(one: Confirmation) -> Iterator[tuple[str, ...]]:
    yield _row(one.prediction, one.cell, _judged(one))
    for beside in one.neighbours:
        yield _row(beside.prediction, beside.cell, _compared(beside))


def _row(prediction: Prediction, cell: RunCell, judged: str) -> tuple[str, ...]:
    done = cell.completed
    return (
        format_flops(prediction.budget_flops),
        prediction.place.words,
        count(prediction.n_params),
        count(prediction.n_tokens),
        nats(prediction.loss),
        interval((prediction.loss_low, prediction.loss_high), nats),
        nats(done.val_loss) if done else cell.standing.words,
        two_digits(done.val_loss_se if done else None),
        judged,
        prediction.made_at[:10],
        prediction.run_id,
    )


def _judged(one: Confirmation) -> str:
    if one.held is None:
        return ABSENT
    number = one.n_standard_errors
    return f"{'' if number is None else f'{number:+.1f}, '}{'held' if one.held else 'missed'}"


def _compared(one: Neighbour) -> str:
    if one.worse_by is None:
        return ABSENT
    number = one.n_standard_errors
    return f"{'' if number is None else f'{number:+.1f}, '}{'worse' if one.worse_by >= 0 else 'better'}"
