"""A built corpus: its manifest and its tokens, memory-mapped."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isoflop.corpus.ready_tokens import is_ready, stated_bytes_per_token
from isoflop.corpus.shards import TokenStream, map_tokens
from isoflop.corpus.tokenizer import BYTE, bytes_per_token, token_dtype
from isoflop.corpus_facts import CorpusFacts, DocumentCounts, PartCounts, SplitRule
from isoflop.errors import IsoflopError

MANIFEST_NAME = "manifest.json"
FINGERPRINT_LENGTH = 16

# Fields added after the first corpora: they stay out of the file of a corpus that has nothing to say in them.
_LATER_FIELDS = ("vocab_size", "n_empty_dropped", "mix")

_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}")


class Manifest(BaseModel):
    """What a corpus was made of and what came out. Bytes and tokens are those kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    fingerprint: str = Field(description="hash of tokenizer, training tokens and held-out tokens")
    tokenizer: str
    vocab_size: int = Field(BYTE.vocab_size, ge=1, le=1 << 32, description="tokens are 0 .. vocab_size - 1")
    source: str = Field(description="where the text came from, in words")
    interpreter: str | None = Field(description="implementation and version, where the text is its library")
    heldout_fraction: float = Field(description="share of the documents that was to be held out")
    split: SplitRule = Field(description="how the held-out documents were chosen, see isoflop.corpus.split")
    n_files: int
    n_documents: int = Field(description="before any were dropped; a large file counts in parts")
    n_duplicates_dropped: int = Field(description="documents with the bytes of an earlier one")
    n_near_duplicates_dropped: int = Field(description="held-out documents with mostly lines of the training text")
    n_train_documents: int
    n_heldout_documents: int
    n_train_bytes: int | None = Field(description="of text; null where its tokens alone are known")
    n_heldout_bytes: int | None = Field(description="of text; null where its tokens alone are known")
    n_train_tokens: int
    n_heldout_tokens: int
    n_empty_dropped: int = Field(0, ge=0, description="records without text; they count as no documents")
    mix: tuple[PartCounts, ...] = Field((), description="the parts of a mixture")
    train_shards: tuple[int, ...] = Field(min_length=1, description="tokens per file")
    heldout_shards: tuple[int, ...] = Field(min_length=1, description="tokens per file")

    @property
    def facts(self) -> CorpusFacts:
        """What a plan needs to know. Bytes per token are those of the held-out text, whose loss they convert."""
        return CorpusFacts(
            fingerprint=self.fingerprint,
            n_train_tokens=self.n_train_tokens,
            n_heldout_tokens=self.n_heldout_tokens,
            bytes_per_token=self.bytes_per_token,
            documents=DocumentCounts(
                source=self.source,
                n_files=self.n_files,
                n_read=self.n_documents,
                n_duplicates=self.n_duplicates_dropped,
                n_near_duplicates=self.n_near_duplicates_dropped,
                n_train=self.n_train_documents,
                n_heldout=self.n_heldout_documents,
                split=self.split,
                n_empty=self.n_empty_dropped,
                parts=self.mix,
            ),
            tokenizer=self.tokenizer,
            vocab_size=self.vocab_size,
        )

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of held-out text per token; None where the text behind the tokens is not known."""
        if is_ready(self.tokenizer):
            return stated_bytes_per_token(self.tokenizer)
        assert self.n_heldout_bytes is not None
        return bytes_per_token(self.n_heldout_bytes, self.n_heldout_tokens)

    def to_json(self) -> str:
        """The manifest's file. That of a corpus of bytes says no more than the first ones did."""
        fields = type(self).model_fields
        unsaid = {name for name in _LATER_FIELDS if getattr(self, name) == fields[name].default}
        return self.model_dump_json(indent=1, exclude=unsaid) + "\n"


@dataclass(frozen=True)
class Corpus:
    """Tokens to train on and tokens held out, with the record of where they came from."""

    manifest: Manifest
    train: TokenStream
    heldout: TokenStream

    @property
    def facts(self) -> CorpusFacts:
        """What a plan needs to know."""
        return self.manifest.facts


def load_corpus(root: Path, fingerprint: str) -> Corpus:
    """The corpus with that fingerprint among those built under `root`; its files must have their full size.

    Raises:
        IsoflopError: not a fingerprint, no such corpus, or a damaged one.
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise IsoflopError(
            f"{fingerprint!r} is not a corpus fingerprint.",
            hint=f"A fingerprint is {FINGERPRINT_LENGTH} lower-case hexadecimal digits; plan the sweep again.",
        )
    folder = root / fingerprint
    rebuild = "Run `isoflop run` with the sweep file again: it rebuilds the corpus from its sources."
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        if manifest.fingerprint != fingerprint:
            raise ValueError(f"its manifest is that of {manifest.fingerprint}")
        dtype = token_dtype(manifest.vocab_size)
        return Corpus(
            manifest,
            train=map_tokens(folder, "train", manifest.train_shards, dtype),
            heldout=map_tokens(folder, "heldout", manifest.heldout_shards, dtype),
        )
    except ValidationError as error:
        reason = f"its manifest is not one ({error.error_count()} problems)"
    except FileNotFoundError as error:
        if not folder.exists():
            raise IsoflopError(f"There is no corpus {fingerprint} in {str(root)!r}.", hint=rebuild) from None
        reason = f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise IsoflopError(f"The corpus {str(folder)!r} is damaged: {reason}.", hint=rebuild)
