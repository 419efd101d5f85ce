"""From a sweep file to a plan, as `plan` and `run` both need it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from isoflop.corpus import (
    Corpus,
    OnProgress,
    absence_finding,
    as_stated,
    count_corpus,
    facts_by_token_count,
    is_absent,
    open_corpus,
    stated_tokenizer,
    token_count_findings,
    tokenizer_findings,
)
from isoflop.corpus_facts import CorpusFacts
from isoflop.engine.local.busy_gpus import BusyGpu
from isoflop.engine.local.device_wish import ANY_DEVICE, DeviceWish
from isoflop.engine.local.devices import DeviceChoice, cpu_cores, find_devices
from isoflop.engine.protocol import USABLE_MEMORY, Slot
from isoflop.errors import IsoflopError
from isoflop.finding import Finding
from isoflop.hardware import devices_name
from isoflop.plan.estimate import estimate, guess_seconds
from isoflop.plan.gpu_types import GpuChoice
from isoflop.plan.planner import make_plan, why_not
from isoflop.plan.rank_findings import slow_ranks
from isoflop.plan.types import DroppedCell, Extra, Limit, Plan, Role
from isoflop.run_spec import OWN_CORPUS
from isoflop.shape import Shape
from isoflop.spec import SweepSpec
from isoflop.units import format_flops, plural

# A simulated sweep reads no corpus; its plan is that of one no run can exhaust.
NO_CORPUS = CorpusFacts(fingerprint="none", n_train_tokens=10**18, n_heldout_tokens=10**18, bytes_per_token=1.0)

# Where a command shows how far a corpus is on its way to tokens.
ProgressDisplay = AbstractContextManager[OnProgress | None]
NOT_SHOWN: ProgressDisplay = nullcontext()


@dataclass(frozen=True)
class PlannedSweep:
    """A plan, and the slots it is to run on.

    Attributes:
        corpus, memory_limit: what the plan rests on, see `make_plan`.
        recordable: False where the text was not at hand: its run ids are provisional and nothing may be recorded.
        elsewhere: the devices are not of this machine, so that nothing measured here tells of them.
        speed: of their arithmetic, over that of the GPU whose constants are guessed with.
        busy: GPUs that were left out because other programs compute on them.
        has_fixed_lanes: runs at once on each GPU are those of a cluster's jobs, whatever trials show.
    """

    plan: Plan
    slots: tuple[Slot, ...]
    corpus: CorpusFacts
    memory_limit: float | None
    recordable: bool = True
    elsewhere: bool = False
    speed: float = 1.0
    busy: tuple[BusyGpu, ...] = ()
    has_fixed_lanes: bool = False

    def can_train(self, spec: SweepSpec, shape: Shape, budget_flops: float) -> bool:
        """Whether the plan would take such a run."""
        return self.why_not(spec, shape, budget_flops) is None

    def why_not(self, spec: SweepSpec, shape: Shape, budget_flops: float) -> tuple[Limit, str] | None:
        """What keeps such a run out of the plan, with numbers; None if nothing does."""
        return why_not(spec, shape, budget_flops, self.corpus, self.memory_limit)


@dataclass(frozen=True)
class SweepCorpus:
    """What a plan rests on, and what is to be said of it.

    Attributes:
        is_here: False where the text is elsewhere and `corpus.tokens` stands in for it.
    """

    facts: CorpusFacts
    findings: tuple[Finding, ...] = ()
    is_here: bool = True


def sweep_corpus(
    spec: SweepSpec,
    file: Path,
    artifacts: Path,
    *,
    text_needed: bool = True,
    write: bool = True,
    progress: ProgressDisplay = NOT_SHOWN,
) -> SweepCorpus:
    """The corpus of the sweep in `file`, tokenised unless that is done; counted alone unless it is to be written.

    Unless the text is needed, `corpus.tokens` stands in for a text that is not here. `progress` is told how far
    the text is on its way to tokens, which a process per core encodes.

    Raises:
        IsoflopError: no such corpus, or one that cannot be read or built.
    """
    base, root = file.resolve().parent, corpora(artifacts)
    if spec.command is not None:
        return SweepCorpus(_facts_of_program(spec, base))
    if spec.trainer == "simulated":
        name, vocab_size = stated_tokenizer(spec.tokenizer, base=base)
        facts = replace(NO_CORPUS, tokenizer=name, vocab_size=vocab_size)
        return SweepCorpus(as_stated(facts, spec.corpus))
    if not text_needed and _stands_in(spec, base):
        facts = facts_by_token_count(spec.corpus, spec.tokenizer, base=base)
        return SweepCorpus(facts, (absence_finding(spec.corpus, facts),), is_here=False)
    build = partial(open_corpus if write else count_corpus, spec.corpus, spec.tokenizer, root=root, base=base)
    with progress as heard:
        built = build(on_progress=heard, processes=cpu_cores())
    facts = built.facts if isinstance(built, Corpus) else built
    findings = (*token_count_findings(spec.corpus, facts), *tokenizer_findings(spec.tokenizer, facts))
    return SweepCorpus(facts, findings)


def _facts_of_program(spec: SweepSpec, base: Path) -> CorpusFacts:
    """The text of a program of the user's own, of which only the number of tokens may be known."""
    vocab_size = 0 if spec.ladder else stated_tokenizer(spec.tokenizer, base=base)[1]
    n_tokens = spec.corpus.tokens or NO_CORPUS.n_train_tokens
    return replace(
        NO_CORPUS, fingerprint=OWN_CORPUS, n_train_tokens=n_tokens, tokenizer=OWN_CORPUS, vocab_size=vocab_size
    )


def plan_sweep(
    spec: SweepSpec,
    corpus: SweepCorpus,
    *,
    device: DeviceChoice,
    workers: int | None,
    extra: Sequence[Extra] = (),
    on: GpuChoice | None = None,
    wish: DeviceWish = ANY_DEVICE,
) -> PlannedSweep:
    """The plan of `spec` on the devices it is guessed fastest on; `extra` stands beside the grid.

    The choice rests on the plan alone, not on what has been measured so far: a sweep goes on where it began. With `on`
    the devices are those, whatever this machine has.

    Raises:
        IsoflopError: no such devices, or no cell can be trained.
    """
    if on is not None:
        planned = replace(_planned(spec, corpus, _slots_elsewhere(on, spec), extra), elsewhere=True, speed=on.gpu.speed)
        return _require_cells(spec, planned)
    simulated = spec.trainer == "simulated"
    on_cores = simulated and device == "auto" and wish.named is None and wish.per_device is None
    found = find_devices("cpu" if on_cores else device, workers, spec.devices_per_run, wish)
    planned = min((_planned(spec, corpus, slots, extra) for slots in found.options), key=_cells_lost_and_seconds)
    planned = replace(planned, busy=found.busy)
    return _require_cells(spec, planned)


def _require_cells(spec: SweepSpec, planned: PlannedSweep) -> PlannedSweep:
    if not planned.plan.cells:
        raise _nothing_to_train(spec, planned.plan.dropped)
    return planned


def plan_there(
    spec: SweepSpec, corpus: SweepCorpus, slots: tuple[Slot, ...], *, extra: Sequence[Extra] = ()
) -> PlannedSweep:
    """The plan of `spec` on slots of a cluster.

    Raises:
        IsoflopError: no cell can be trained.
    """
    return replace(_require_cells(spec, _planned(spec, corpus, slots, extra)), has_fixed_lanes=True)


def plan_on(spec: SweepSpec, corpus: SweepCorpus, slots: tuple[Slot, ...], extra: Sequence[Extra]) -> PlannedSweep:
    """The plan on these slots: that of a sweep which grows while it is trained."""
    return _planned(spec, corpus, slots, extra)


def _slots_elsewhere(on: GpuChoice, spec: SweepSpec) -> tuple[Slot, ...]:
    """A slot for each group of GPUs that train a run together."""
    per_run, gpu = spec.devices_per_run, on.gpu
    if on.number < per_run:
        raise IsoflopError(
            f"A run takes {per_run} devices, but --on names {plural(on.number, 'GPU')}.",
            hint=f"Give at least {per_run} GPUs: --on {gpu.name}:{per_run}.",
        )
    name, memory = devices_name(gpu.product, per_run), gpu.memory_bytes * USABLE_MEMORY
    groups = (range(first, first + per_run) for first in range(0, on.number - per_run + 1, per_run))
    return tuple(
        Slot("cuda", name, ",".join(map(str, group)), memory, bfloat16=True, n_devices=per_run) for group in groups
    )


def text_is_here(spec: SweepSpec, file: Path) -> bool:
    """Whether a plan of the sweep in `file` can be recorded: its text is at hand, or it needs none."""
    return spec.trainer in ("simulated", "command") or not _stands_in(spec, file.resolve().parent)


def _stands_in(spec: SweepSpec, base: Path) -> bool:
    return spec.corpus.tokens is not None and is_absent(spec.corpus, base=base)


def _nothing_to_train(spec: SweepSpec, dropped: Sequence[DroppedCell]) -> IsoflopError:
    first = f" at {format_flops(dropped[0].budget_flops)} FLOPs, {dropped[0].reason}" if dropped else " it is empty"
    return IsoflopError(
        f"No cell of the sweep {spec.name!r} can be trained:{first}.",
        hint="Change the budgets or the centre of the grid, or the limit that the reason names.",
    )


def _planned(spec: SweepSpec, corpus: SweepCorpus, slots: tuple[Slot, ...], extra: Sequence[Extra]) -> PlannedSweep:
    # What is drawn from a surface needs no memory.
    memory = None if spec.trainer == "simulated" else min(slot.memory_bytes / slot.n_ranks_in_memory for slot in slots)
    plan = make_plan(spec, corpus.facts, memory_limit=memory, extra=extra)
    slowed = spec.command is None and slots[0].kind == "cpu" and slots[0].n_devices > 1
    shared = [slow_ranks(slots[0].n_devices)] if slowed else []
    plan = replace(plan, findings=(*corpus.findings, *plan.findings, *shared))
    return PlannedSweep(plan, slots, corpus.facts, memory, recordable=corpus.is_here)


def _cells_lost_and_seconds(planned: PlannedSweep) -> tuple[int, float]:
    """Of the sweep without its confirm runs, which are trained where the runs were that predict them."""
    confirming = {cell.run.run_id for cell in planned.plan.cells if cell.role is Role.CONFIRM}
    runs = planned.plan.runs.items()
    others = [run for run_id, run in runs if run_id not in confirming and run.trainer != "simulated"]
    longest_first = sorted(
        others, key=lambda run: -guess_seconds(run.shape, run.n_steps, run.planned_flops, _kind(planned))
    )
    names = [slot.name for slot in planned.slots]
    return len(planned.plan.dropped), estimate(longest_first, [], device_kind=_kind(planned), devices=names).seconds


def _kind(planned: PlannedSweep) -> str:
    return planned.slots[0].kind


def corpora(artifacts: Path) -> Path:
    """Where tokenised corpora lie."""
    return artifacts / "corpora"
