"""From a sweep file to a plan, as `plan` and `run` both need it."""

from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus import Corpus, make_tokenizer, open_corpus
from isoflop.corpus_facts import CorpusFacts
from isoflop.engine.devices import Slot
from isoflop.plan.planner import make_plan
from isoflop.plan.types import Plan
from isoflop.spec import SweepSpec

# A simulated sweep reads no corpus; its plan is that of one no run can exhaust.
NO_CORPUS = CorpusFacts(fingerprint="none", n_train_tokens=10**18, n_heldout_tokens=10**18, bytes_per_token=1.0)


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep with its plan; `corpus` is None where nothing is trained."""

    spec: SweepSpec
    corpus: Corpus | None
    plan: Plan


def plan_sweep(spec: SweepSpec, file: Path, artifacts: Path, slots: tuple[Slot, ...]) -> PlannedSweep:
    """Tokenise the corpus unless that is done, and make the plan."""
    corpus = None
    if spec.trainer == "builtin":
        base = file.resolve().parent
        corpus = open_corpus(spec.corpus, spec.tokenizer, root=corpora(artifacts), base=base)
    plan = make_plan(
        spec,
        corpus.facts if corpus else NO_CORPUS,
        vocab_size=make_tokenizer(spec.tokenizer).vocab_size,
        memory_limit=min(slot.memory_bytes for slot in slots),
    )
    return PlannedSweep(spec, corpus, plan)


def corpora(artifacts: Path) -> Path:
    """Where tokenised corpora lie."""
    return artifacts / "corpora"


def lock_path(db: Path, sweep: str) -> Path:
    """The lock file of a sweep, beside its database."""
    return db.with_name(f"{db.name}.{sweep}.lock")
