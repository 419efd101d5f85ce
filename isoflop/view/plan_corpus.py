"""The corpus of a plan, as lines of text and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict

from isoflop.corpus_facts import CorpusFacts, DocumentCounts
from isoflop.units import format_count, plural
from isoflop.wording import one_line


def corpus_lines(corpus: CorpusFacts) -> Iterator[str]:
    """What the text is and how it was split; where no text was read, its stated tokens."""
    train, heldout = format_count(corpus.n_train_tokens), format_count(corpus.n_heldout_tokens)
    documents = corpus.documents
    if documents is None:
        yield f"corpus: {train} tokens to train on, {heldout} held out, by corpus.tokens"
        return
    n_read, n_files = plural(documents.n_read, "document"), plural(documents.n_files, "file")
    yield f"corpus: {one_line(documents.source)}; {n_read} in {n_files}"
    if documents.split == "by_file":
        yield f"{train} tokens to train on; {heldout} held out, as corpus.heldout names"
    elif documents.split == "by_position":
        yield f"{train} tokens to train on; {heldout} held out, the end of the only document"
    else:
        n_train, n_heldout = plural(documents.n_train, "document"), plural(documents.n_heldout, "document")
        yield f"{train} tokens in {n_train} to train on, {heldout} in {n_heldout} held out"
    if corpus.tokenizer != "byte" and corpus.bytes_per_token is not None:
        yield f"tokenizer: {corpus.tokenizer}, {corpus.bytes_per_token:.2f} bytes per token"
    yield from _dropped(documents)
    for part in documents.parts:
        yield (
            f"{100 * part.weight:.3g} % from {one_line(part.source)}: {format_count(part.n_train_tokens)} of its "
            f"{format_count(part.n_train_unique)} tokens, {format_count(part.n_heldout_tokens)} of "
            f"{format_count(part.n_heldout_unique)} held out"
        )
    if corpus.bytes_per_token is None:
        yield "bytes per token are not known (corpus.bytes_per_token): losses have no bits per byte"


def _dropped(documents: DocumentCounts) -> Iterator[str]:
    numbers = (
        (documents.n_empty, "empty record"),
        (documents.n_duplicates, "duplicate"),
        (documents.n_near_duplicates, "near-duplicate"),
    )
    named = [plural(number, noun) for number, noun in numbers if number]
    if named:
        *first, last = named
        yield f"dropped from the corpus: {', '.join(first) + ' and ' if first else ''}{last}"


def corpus_document(corpus: CorpusFacts) -> dict[str, object]:
    """The `corpus` of `isoflop plan --json`, named as in the corpus's manifest; null where no text was read."""
    documents = corpus.documents
    return {
        "fingerprint": corpus.fingerprint,
        "source": documents and documents.source,
        "n_files": documents and documents.n_files,
        "n_documents": documents and documents.n_read,
        "n_duplicates_dropped": documents and documents.n_duplicates,
        "n_near_duplicates_dropped": documents and documents.n_near_duplicates,
        "n_train_documents": documents and documents.n_train,
        "n_heldout_documents": documents and documents.n_heldout,
        "n_empty_dropped": documents and documents.n_empty,
        "mix": documents and [asdict(part) for part in documents.parts],
        "split": documents and documents.split,
        "n_train_tokens": corpus.n_train_tokens,
        "n_heldout_tokens": corpus.n_heldout_tokens,
        "bytes_per_token": corpus.bytes_per_token,
        "tokenizer": corpus.tokenizer,
        "vocab_size": corpus.vocab_size,
    }
