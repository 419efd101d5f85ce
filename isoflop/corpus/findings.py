"""The token count that a sweep file gives (`corpus.tokens`): in place of a text that is elsewhere, or beside it."""

from collections.abc import Iterator
from pathlib import Path

from isoflop.corpus.ready_tokens import as_stated
from isoflop.corpus.tokenizers.tokenizer_choice import stated_tokenizer
from isoflop.corpus_facts import CorpusFacts
from isoflop.finding import Finding, Severity
from isoflop.spec import CorpusSpec, TokenizerSpec
from isoflop.units import format_count

# Stands where a corpus has the hash of its tokens: no run with it can ever be trained.
ABSENT_FINGERPRINT = "absent"
# The byte tokenizer's, but for a separator per document.
BYTES_PER_TOKEN = 1.0
# A count off by more than this share gives another plan: other cells exceed their epochs.
COUNT_TOLERANCE = 0.1


def facts_by_token_count(spec: CorpusSpec, tokenizer: TokenizerSpec, *, base: Path) -> CorpusFacts:
    """What `corpus.tokens` says of a text that is not here, held out as `corpus.heldout_fraction` says.

    Raises:
        IsoflopError: as of `make_tokenizer`.
    """
    assert spec.tokens is not None
    n_heldout = round(spec.tokens * spec.heldout_fraction)
    name, vocab_size = stated_tokenizer(tokenizer, base=base)
    per_token = BYTES_PER_TOKEN if tokenizer.kind == "byte" else None
    train = spec.tokens - n_heldout
    facts = CorpusFacts(ABSENT_FINGERPRINT, train, n_heldout, per_token, tokenizer=name, vocab_size=vocab_size)
    return as_stated(facts, spec)


def absence_finding(spec: CorpusSpec, facts: CorpusFacts) -> Finding:
    """The finding that a plan rests on `corpus.tokens`."""
    return Finding(
        "corpus_absent",
        Severity.WARNING,
        "The text of corpus.paths is not on this machine: the plan rests on corpus.tokens = "
        f"{format_count(spec.tokens or 0)}, is not recorded, and has provisional run ids.",
        "Plan again where the text is: run ids hash the tokens themselves.",
        {
            "paths": [path for source in spec.sources for path in source.paths],
            "stated_tokens": spec.tokens,
            "n_train_tokens": facts.n_train_tokens,
            "n_heldout_tokens": facts.n_heldout_tokens,
            "corpus_fingerprint": facts.fingerprint,
            "provisional_run_ids": True,
        },
    )


def token_count_findings(spec: CorpusSpec, facts: CorpusFacts) -> Iterator[Finding]:
    """A finding where a text that is here has another number of tokens than `corpus.tokens` says."""
    counted = facts.n_tokens
    if spec.tokens is None or abs(spec.tokens / counted - 1) <= COUNT_TOLERANCE:
        return
    yield Finding(
        "corpus_tokens_differ",
        Severity.WARNING,
        f"The text has {format_count(counted)} tokens, corpus.tokens says {format_count(spec.tokens)}.",
        "This plan uses the counted tokens; correct corpus.tokens so that a plan made without the text agrees.",
        {"counted_tokens": counted, "stated_tokens": spec.tokens},
    )


def tokenizer_findings(spec: TokenizerSpec, facts: CorpusFacts) -> Iterator[Finding]:
    """Findings where the tokenizer is not what was asked for, or the tokens are not quite the text."""
    if spec.vocab_size is not None and facts.vocab_size < spec.vocab_size:
        yield Finding(
            "small_vocabulary",
            Severity.INFO,
            f"The training text has pairs for {facts.vocab_size} tokens, fewer than tokenizer.vocab_size = "
            f"{spec.vocab_size}: the models have {facts.vocab_size}.",
            "Nothing needs doing; for the full vocabulary use more text.",
            {"vocab_size": facts.vocab_size, "asked_vocab_size": spec.vocab_size},
        )
    counts = facts.encoding
    if counts.n_lossy:
        yield Finding(
            "lossy_tokenizer",
            Severity.WARNING,
            f"The tokenizer changes the text: {counts.n_lossy} of {counts.n_checked} held-out documents came back "
            "different when their tokens were decoded.",
            "Bits per byte are of the text before; use a byte-level tokenizer without a normaliser to keep all of it.",
            {"n_lossy": counts.n_lossy, "n_checked": counts.n_checked},
        )
    if counts.n_replaced_bytes:
        yield Finding(
            "replaced_bytes",
            Severity.INFO,
            f"{counts.n_replaced_bytes} bytes of the text are not UTF-8 and were replaced by U+FFFD.",
            "Nothing needs doing where they are few; convert the text to UTF-8 where they are many.",
            {"n_replaced_bytes": counts.n_replaced_bytes},
        )
