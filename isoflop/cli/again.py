"""`isoflop run --again`: weights that were not kept, by training once more."""

from pathlib import Path
from typing import TYPE_CHECKING

from isoflop.cli.boundary import output_of
from isoflop.cli.device_options import tell_of_devices
from isoflop.cli.interruption import answered_signals, exit_code, shown

if TYPE_CHECKING:
    from isoflop.engine.local.device_wish import DeviceWish
    from isoflop.engine.local.devices import DeviceChoice
    from isoflop.sweep.run_again import Repeat


def train_again(
    sweep: Path,
    db: Path,
    artifacts: Path,
    names: list[str],
    *,
    device: "DeviceChoice",
    workers: int | None,
    wish: "DeviceWish",
    json: bool,
) -> int:
    """The exit code, once the named runs have been trained again and compared with what was recorded.

    Raises:
        IsoflopError: as of `isoflop.sweep.run_again.open_repeats`.
    """
    from isoflop.cli.console import stderr, stdout
    from isoflop.sweep.run_again import open_repeats
    from isoflop.view.document import SCHEMA_VERSION, dumps
    from isoflop.view.drawing import text

    opened = open_repeats(sweep, db, artifacts, names, device=device, workers=workers, wish=wish)
    with opened as session, answered_signals(session.engine) as received:
        if session.missing:
            tell_of_devices(session.chosen[0].sweep.name, session.busy, session.engine.slots)
            shown(session.events(), session.outline, stderr(), received)
        repeats = session.repeats
    code = exit_code(received, complete=all(repeat.weights for repeat in repeats))
    with output_of(code):
        if json:
            print(dumps({"schema_version": SCHEMA_VERSION, "repeats": [_document(repeat) for repeat in repeats]}))
        else:
            for repeat in repeats:
                stdout().print(text(_sentence(repeat)), soft_wrap=True)
    return code


def _document(repeat: "Repeat") -> dict[str, object]:
    return {
        "run_id": repeat.run_id,
        "recorded_loss": repeat.recorded_loss,
        "loss": repeat.loss,
        "difference": repeat.difference,
        "reason": repeat.reason,
        "weights": str(repeat.weights) if repeat.weights else None,
    }


def _sentence(repeat: "Repeat") -> str:
    if repeat.was_there:
        return f"{repeat.run_id}: its weights are there already, in {repeat.weights}."
    if repeat.difference is None:
        return f"{repeat.run_id}: not trained to its end: {repeat.reason or 'stopped; the same command continues'}."
    compared = (
        "equal to the recorded one in every bit"
        if repeat.difference == 0.0
        else f"{repeat.difference:+.2g} nats from the recorded {repeat.recorded_loss:.4f}, which stays"
    )
    return f"{repeat.run_id}: loss {repeat.loss:.4f}, {compared}; weights in {repeat.weights}."
