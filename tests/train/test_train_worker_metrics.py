"""What a worker does about probes: a run that is trained is never lost for them."""

import pytest

from isoflop.result import Metric
from isoflop.train.progress import Interrupted, Progress
from isoflop.train.worker import _metrics


def interrupted() -> tuple[Metric, ...]:
    raise Interrupted


def broken() -> tuple[Metric, ...]:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize(("measure", "said"), [(interrupted, ""), (broken, "no such kernel")])
def test_a_trained_run_whose_probes_cannot_be_asked_has_none(capsys, measure, said) -> None:
    progress = Progress(seconds=2.0)
    assert _metrics(measure, progress) == ()
    assert said in capsys.readouterr().err
    assert progress.seconds > 2.0
    assert progress.eval_seconds == pytest.approx(progress.seconds - 2.0)
