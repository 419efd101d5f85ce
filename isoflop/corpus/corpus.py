"""A built corpus: its manifest and its tokens, memory-mapped."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isoflop.corpus.ready_tokens import is_ready, stated_bytes_per_token
from isoflop.corpus.shards import TokenStream, map_tokens
from isoflop.corpus.tokenizers.tokenizer import BYTE, Tokenizer, bytes_per_token, token_dtype
from isoflop.corpus.tokenizers.tokenizer_file import TOKENIZER_FILE, has_a_file, is_named_after, saved_tokenizer
from isoflop.corpus_facts import CorpusFacts, DocumentCounts, EncodingCounts, PartCounts, SplitRule
from isoflop.errors import IsoflopError
from isoflop.units import plural

MANIFEST_NAME = "manifest.json"
FINGERPRINT_LENGTH = 16

# Fields added after the first corpora: they stay out of the file of a corpus that has nothing to say in them.
_LATER_FIELDS = (
    "vocab_size", "separator", "n_sample_bytes", "n_replaced_bytes", "n_checked", "n_lossy", "n_empty_dropped", "mix",
)  # fmt: skip

_REBUILD = "Run `isoflop run` with the sweep file again: it rebuilds the corpus from its sources."
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_LENGTH}}}")


class Manifest(BaseModel):
    """What a corpus was made of and what came out. Bytes and tokens are those kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    fingerprint: str = Field(description="hash of tokenizer, training tokens and held-out tokens")
    tokenizer: str
    vocab_size: int = Field(BYTE.vocab_size, ge=1, le=1 << 32, description="tokens are 0 .. vocab_size - 1")
    separator: int | None = Field(BYTE.separator, ge=0, description="the token that ends every document, if known")
    n_sample_bytes: int = Field(0, ge=0, description="training text that the tokenizer was trained on")
    n_replaced_bytes: int = Field(0, ge=0, description="bytes that are not UTF-8 and were not encoded as they are")
    n_checked: int = Field(0, ge=0, description="held-out documents that were decoded again")
    n_lossy: int = Field(0, ge=0, description="those of them that came back as another text")
    source: str = Field(description="where the text came from, in words")
    interpreter: str | None = Field(description="implementation and version, where the text is its library")
    heldout_fraction: float = Field(description="share of the documents that was to be held out")
    split: SplitRule = Field(description="how the held-out documents were chosen, see isoflop.corpus.builder.split")
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
            encoding=EncodingCounts(self.n_replaced_bytes, self.n_checked, self.n_lossy),
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
    folder: Path

    @property
    def facts(self) -> CorpusFacts:
        """What a plan needs to know."""
        return self.manifest.facts

    @property
    def tokenizer(self) -> Tokenizer:
        """What made the tokens and turns them into text again; it is read from its file anew each time.

        Raises:
            IsoflopError: its file is missing or damaged, or the library `tokenizers` is not installed.
        """
        return _tokenizer(self.manifest, self.folder)


def corpus_tokenizer(root: Path, fingerprint: str) -> Tokenizer:
    """The tokenizer of the corpus with that fingerprint among those built under `root`.

    Raises:
        IsoflopError: as of `load_corpus` and `Corpus.tokenizer`.
    """
    return load_corpus(root, fingerprint).tokenizer


def _tokenizer(manifest: Manifest, folder: Path) -> Tokenizer:
    if manifest.tokenizer == BYTE.name:
        return BYTE
    if not has_a_file(manifest.tokenizer) or manifest.separator is None:
        raise IsoflopError(
            f"The corpus {manifest.fingerprint} is tokens from elsewhere, without what made them.",
            hint='Use a corpus that is text, with [tokenizer] kind = "file" where it is to have those tokens.',
        )
    path = folder / TOKENIZER_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged(folder, f"{TOKENIZER_FILE} cannot be read: {error.strerror}") from None
    if not is_named_after(manifest.tokenizer, content):
        raise damaged(folder, f"{TOKENIZER_FILE} is not that of {manifest.tokenizer}")
    return saved_tokenizer(
        content,
        name=manifest.tokenizer,
        vocab_size=manifest.vocab_size,
        separator=manifest.separator,
        where=repr(str(path)),
    )


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
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
        if manifest.fingerprint != fingerprint:
            raise ValueError(f"its manifest is that of {manifest.fingerprint}")
        dtype = token_dtype(manifest.vocab_size)
        return Corpus(
            manifest,
            train=map_tokens(folder, "train", manifest.train_shards, dtype),
            heldout=map_tokens(folder, "heldout", manifest.heldout_shards, dtype),
            folder=folder,
        )
    except ValidationError as error:
        reason = f"its manifest is not one ({plural(error.error_count(), 'problem')})"
    except FileNotFoundError as error:
        if not folder.exists():
            raise IsoflopError(f"There is no corpus {fingerprint} in {str(root)!r}.", hint=_REBUILD) from None
        reason = f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError) as error:
        reason = str(error)
    raise damaged(folder, reason)


def damaged(folder: Path, reason: str) -> IsoflopError:
    """The error that the corpus in `folder` is not as it was built."""
    return IsoflopError(f"The corpus {str(folder)!r} is damaged: {reason}.", hint=_REBUILD)
