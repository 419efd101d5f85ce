"""[corpus] and [tokenizer]: the text that is read and how it becomes tokens."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from isoflop.spec.section import Positive, Section, at_default

SourceName = Literal["python-stdlib", "files", "jsonl", "parquet", "arrow", "tokens", "hf"]
TokenFormat = Literal["auto", "nanogpt", "llm.c", "megatron"]

# Keys of [corpus] that came after the first corpora were built: left out, where they say nothing, of what is hashed.
LATER_CORPUS_KEYS = (
    "field", "vocab_size", "bytes_per_token", "separator", "format", "heldout", "dataset", "subset", "split",
    "revision", "max_bytes", "mix",
)  # fmt: skip

_RECORDS = ("jsonl", "parquet", "arrow")
_ON_DISK = ("files", *_RECORDS, "tokens")
_SOURCES_OF: Mapping[str, tuple[str, ...]] = {
    "paths": _ON_DISK,
    "field": (*_RECORDS, "hf"),
    **dict.fromkeys(("vocab_size", "bytes_per_token", "separator", "format", "heldout"), ("tokens",)),
    **dict.fromkeys(("dataset", "subset", "split", "revision", "max_bytes"), ("hf",)),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(_ON_DISK, ("paths",)),
    "tokens": ("paths", "vocab_size"),
    "hf": ("dataset", "max_bytes"),
}
_PATTERNS: Mapping[object, str | tuple[str, ...]] = {
    "jsonl": ("**/*.{jsonl,ndjson}", "**/*.{jsonl,ndjson}.{gz,zst,xz,bz2}"),
    "parquet": "**/*.parquet",
    # What save_to_disk writes; cache-*.arrow beside it are copies.
    "arrow": "**/{data-*,dataset}.arrow",
    "tokens": "**/*.bin",
}

# A byte-level BPE without merges: the byte values and a separator.
SMALLEST_BPE = 257
# Four times Gemma's, the largest in use; an id beyond is a mistake in a file rather than a row of an embedding.
LARGEST_VOCABULARY = 1 << 20


class SourceSpec(Section):
    """Where text comes from: of a corpus, or of one part of a mixture."""

    source: SourceName = "python-stdlib"
    """`python-stdlib`: the running interpreter's own library sources. `files`: local text. `jsonl`, `parquet`, `arrow`:
    local records with a field of text. `tokens`: local shards of tokens. `hf`: a dataset of Hugging Face's."""
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Files and folders (searched for `pattern`), relative to the sweep file."""
    pattern: str | tuple[str, ...] = "**/*.txt"
    """Which files of a folder are documents: a pattern or a list of patterns; `{a,b}` stands for a and b in turn."""
    field: Annotated[str, Field(min_length=1)] | None = None
    """The field or column with the text of a record; `text` unless it is given."""
    vocab_size: Annotated[int, Field(ge=2, le=1 << 32)] | None = None
    """Of ready tokens: they are 0 .. vocab_size - 1."""
    bytes_per_token: Positive | None = None
    """Of ready tokens: UTF-8 bytes of their text per token; without it there are no bits per byte."""
    separator: Annotated[int, Field(ge=0)] | None = None
    """Of ready tokens: the token that ends documents; blocks end with one where there is one."""
    format: TokenFormat = "auto"
    """Of ready tokens: `nanogpt` (bare), `llm.c` (with a header), `megatron` (.bin and .idx), or as the file looks."""
    heldout: Annotated[str, Field(min_length=1)] | None = None
    """Of ready tokens: the file or folder that is held out, instead of a share of all."""
    dataset: Annotated[str, Field(min_length=1)] | None = None
    """Name of a dataset of Hugging Face's, or a local folder of one, relative to the sweep file."""
    subset: Annotated[str, Field(min_length=1)] | None = None
    """Name of its configuration, where it has several."""
    split: Annotated[str, Field(min_length=1)] | None = None
    """Its split; `train` unless it is given."""
    revision: Annotated[str, Field(min_length=1)] | None = None
    """Branch, tag or commit of the dataset; the newest unless it is given."""
    max_bytes: Annotated[int, Field(ge=1, le=10**15)] | None = None
    """Bytes of text after which no more of the dataset is fetched."""

    @model_validator(mode="before")
    @classmethod
    def _pattern_of_the_source(cls, content: object) -> object:
        if isinstance(content, Mapping) and isinstance(content.get("source"), str) and "pattern" not in content:
            pattern = _PATTERNS.get(content["source"])
            return content if pattern is None else {**content, "pattern": pattern}
        return content

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_pattern_or_several(cls, value: object) -> object:
        patterns = value if isinstance(value, list | tuple) else (value,)
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError('give a pattern such as "**/*.txt" or a list of patterns')
        return value

    @model_validator(mode="after")
    def _keys_belong_to_the_source(self) -> "SourceSpec":
        for key, sources in _SOURCES_OF.items():
            needed = key in _NEEDED.get(self.source, ())
            given = not at_default(self, key)
            if (given and self.source not in sources) or (needed and not given):
                owners = ", ".join(f'"{source}"' for source in sources)
                verb = "are" if key == "paths" else "is"
                need = f"{verb} needed with source = {owners}" if key in _NEEDED[sources[0]] else f"{verb} for {owners}"
                raise ValueError(f"{key} {need}, and allowed with no other source")
        if None not in (self.separator, self.vocab_size) and (self.separator or 0) >= (self.vocab_size or 0):
            raise ValueError(f"the separator {self.separator} is outside the vocabulary of {self.vocab_size} tokens")
        return self

    @property
    def text_field(self) -> str:
        """The field with the text."""
        return self.field or "text"


class MixSpec(SourceSpec):
    """A part of a mixture."""

    weight: Positive
    """Share of the tokens, relative to the other parts."""


class CorpusSpec(SourceSpec):
    """What is read."""

    heldout_fraction: float = Field(0.02, gt=0, lt=0.5)
    """Share of the documents held out for the final loss."""
    tokens: Annotated[int, Field(ge=1, le=10**18)] | None = None
    """Number of tokens of the text, for plans on a machine without the text; elsewhere the text is counted."""
    mix: tuple[MixSpec, ...] = ()
    """Parts of a mixture, each a source of its own with a weight: [[corpus.mix]] tables in place of `source`."""

    @model_validator(mode="after")
    def _a_mixture_or_a_source(self) -> "CorpusSpec":
        if not self.mix:
            return self
        if self.source != "python-stdlib" or not all(at_default(self, key) for key in _SOURCES_OF):
            raise ValueError("a corpus has a source or a mix of sources: move these keys into a [[corpus.mix]] table")
        if len(self.mix) < 2:
            raise ValueError("a mix has two parts or more")
        kinds = {(part.vocab_size, part.bytes_per_token) for part in self.mix if part.source == "tokens"}
        if kinds and (len(kinds) > 1 or any(part.source != "tokens" for part in self.mix)):
            raise ValueError(
                'tokens mix only with tokens: give all parts source = "tokens", one vocab_size and one bytes_per_token'
            )
        return self

    @property
    def sources(self) -> tuple[SourceSpec, ...]:
        """The parts of a mixture, or the corpus itself as its only part."""
        return self.mix or (self,)

    def request(self) -> dict[str, Any]:
        """What decides which tokens the corpus has; keys that came later are left out where they say "as before"."""
        unsaid = {key for key in LATER_CORPUS_KEYS if at_default(self, key)}
        return self.model_dump(mode="json", exclude={"tokens", *unsaid})


class TokenizerSpec(Section):
    """How text becomes tokens."""

    kind: Literal["byte", "bpe", "file"] = "byte"
    """`byte`: 256 byte values and a document separator. `bpe`: byte-pair encoding, trained on the training text.
    `file`: a tokenizer.json of the library `tokenizers`, see `path`."""
    vocab_size: Annotated[int, Field(ge=SMALLEST_BPE, le=LARGEST_VOCABULARY)] | None = None
    """Tokens of a `bpe`, the separator among them; at least 257."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """The tokenizer.json of `file`, relative to the sweep file."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Text of the token of `file` that ends every document. Default: the one end-of-text token that the file has."""

    @model_validator(mode="after")
    def _keys_belong_to_the_kind(self) -> "TokenizerSpec":
        for key, kind in (("vocab_size", "bpe"), ("path", "file"), ("separator", "file")):
            if self.kind != kind and getattr(self, key) is not None:
                raise ValueError(f'{key} belongs to kind = "{kind}", and this one is "{self.kind}"')
        if self.kind == "bpe" and self.vocab_size is None:
            raise ValueError('kind = "bpe" needs vocab_size, such as vocab_size = 4096')
        if self.kind == "file" and self.path is None:
            raise ValueError('kind = "file" needs path, such as path = "tokenizer.json"')
        return self
