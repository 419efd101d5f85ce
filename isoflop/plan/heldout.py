"""Why a held-out text is short, and what to do about it."""

import math
from collections.abc import Iterator

from isoflop.corpus_facts import CorpusFacts
from isoflop.finding import Finding, Severity
from isoflop.spec import SweepSpec
from isoflop.units import format_count, plural

# corpus.heldout_fraction stays below it.
LARGEST_FRACTION = 0.5
# A suggested share is larger than what is needed on average: hashes decide, and documents differ in length.
MARGIN = 1.1


def heldout_findings(spec: SweepSpec, corpus: CorpusFacts) -> Iterator[Finding]:
    """A finding where the held-out text is shorter than the sweep asks for."""
    wanted = spec.evaluation.tokens
    if corpus.n_heldout_tokens >= wanted:
        return
    documents = corpus.documents
    yield Finding(
        "short_heldout",
        Severity.WARNING,
        f"The held-out text has {plural(corpus.n_heldout_tokens, 'token')}, fewer than evaluation.tokens = "
        f"{wanted}{shortage(spec, corpus, wanted)}.",
        f"All of it is used and the loss is less certain; {_cure(corpus, wanted)}.",
        {
            "n_heldout_tokens": corpus.n_heldout_tokens,
            "wanted": wanted,
            "heldout_fraction": spec.corpus.heldout_fraction,
            "n_tokens": corpus.n_tokens,
            "n_heldout_documents": documents.n_heldout if documents else None,
            "n_near_duplicates_dropped": documents.n_near_duplicates if documents else None,
        },
    )


def shortage(spec: SweepSpec, corpus: CorpusFacts, wanted: int) -> str:
    """`: corpus.heldout_fraction = 0.02 of 1.20M tokens is 24.0k`: what leaves it short of `wanted` tokens.

    Empty where the numbers do not say.
    """
    fraction, documents = spec.corpus.heldout_fraction, corpus.documents
    share = fraction * corpus.n_tokens
    reasons = []
    if share < wanted:
        of_all = f"{format_count(corpus.n_tokens)} tokens is {format_count(share)}"
        reasons.append(f"corpus.heldout_fraction = {fraction:g} of {of_all}")
    if documents and documents.n_near_duplicates:
        n_held = documents.n_heldout + documents.n_near_duplicates
        reasons.append(
            f"{documents.n_near_duplicates} of {plural(n_held, 'held-out document')} had most lines in the training "
            "text and were dropped"
        )
    elif documents and documents.split != "by_position" and corpus.n_heldout_tokens < share:
        n_all = documents.n_train + documents.n_heldout
        chosen = "a short one" if documents.n_heldout == 1 else f"{documents.n_heldout} short ones"
        reasons.append(f"the hashes of {n_all} documents happened to choose {chosen}")
    return f": {', and '.join(reasons)}" if reasons else ""


def _cure(corpus: CorpusFacts, wanted: int) -> str:
    needed = math.ceil(MARGIN * wanted / corpus.n_tokens * 1000) / 1000
    if needed >= LARGEST_FRACTION:
        return "use a larger corpus"
    return f"set corpus.heldout_fraction to {needed:g} or more, or use a larger corpus"
