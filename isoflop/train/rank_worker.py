"""The program of every rank but the first: takes its part in each step of one run; writes and reports nothing."""

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from isoflop.corpus import load_corpus
from isoflop.run_spec import RunSpec
from isoflop.rundir import Execution, ExitCode
from isoflop.train.loop import take_part
from isoflop.train.process import die_at_once_with, dump_stacks_when_asked
from isoflop.train.progress import Progress
from isoflop.train.rank_processes import RankTask
from isoflop.train.ranks import joined
from isoflop.train.worker import is_out_of_memory


class Silent:
    """Nobody is told; a request to stop comes through the sum of the gradients."""

    def after_step(self, progress: Progress, loss: float) -> None:
        """See `Watcher`."""

    def between(self) -> None:
        """See `Watcher`."""


def main() -> None:
    """Train, then wait for the end of rank 0: a connection closed too early would fail its last sum."""
    for number in (signal.SIGTERM, signal.SIGINT):  # rank 0 stops all
        signal.signal(number, signal.SIG_IGN)
    dump_stacks_when_asked()
    task = RankTask(**json.loads(sys.stdin.buffer.readline()))
    die_at_once_with(task.parent_pid)
    end_of_rank_0 = threading.Thread(target=_end_with_input, daemon=True)
    end_of_rank_0.start()
    try:
        _train(task)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(ExitCode.OUT_OF_MEMORY if is_out_of_memory(error) else ExitCode.RANK_LOST)


def _train(task: RankTask) -> None:
    run, execution = RunSpec.model_validate_json(task.run), Execution.model_validate_json(task.execution)
    corpus = load_corpus(Path(task.corpora), run.corpus_fingerprint)
    with joined(task.rank, execution.world_size, execution.device_kind, Path(task.meeting)) as ranks:
        take_part(run, corpus, execution, checkpoints=Path(task.checkpoints), watcher=Silent(), ranks=ranks)
        threading.Event().wait()


def _end_with_input() -> None:
    """End this process when rank 0 has let go of its standard input, by whatever death."""
    sys.stdin.buffer.read()
    os._exit(ExitCode.DONE)


if __name__ == "__main__":
    main()
