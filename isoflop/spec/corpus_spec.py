"""[corpus] and [tokenizer]: the text that is read and how it becomes tokens."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from isoflop.spec.section import Section

# A byte-level BPE without merges: the byte values and a separator.
SMALLEST_BPE = 257
# Four times Gemma's, the largest in use; an id beyond is a mistake in a file rather than a row of an embedding.
LARGEST_VOCABULARY = 1 << 20


class CorpusSpec(Section):
    """What is read."""

    source: Literal["python-stdlib", "files"] = "python-stdlib"
    """`python-stdlib`: the running interpreter's own library sources. `files`: local text, see `paths`."""
    paths: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Files and folders (searched for `pattern`), relative to the sweep file."""
    pattern: str | tuple[str, ...] = "**/*.txt"
    """Which files of a folder are documents: a pattern or a list of patterns; `{a,b}` stands for a and b in turn."""
    heldout_fraction: float = Field(0.02, gt=0, lt=0.5)
    """Share of the documents held out for the final loss."""
    tokens: Annotated[int, Field(ge=1, le=10**18)] | None = None
    """Number of tokens of the text, for plans on a machine without the text; elsewhere the text is counted."""

    @field_validator("pattern", mode="before")
    @classmethod
    def _one_pattern_or_several(cls, value: object) -> object:
        patterns = value if isinstance(value, list | tuple) else (value,)
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError('give a pattern such as "**/*.txt" or a list of patterns')
        return value

    @model_validator(mode="after")
    def _paths_belong_to_files(self) -> "CorpusSpec":
        if (self.source == "files") != bool(self.paths):
            raise ValueError('paths are needed with source = "files", and allowed with no other source')
        return self


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
