"""The tokenizer that a sweep file asks for: there already, or to be trained on the corpus's own training text."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus.tokenizers.bpe import SEPARATOR, train_bpe
from isoflop.corpus.tokenizers.tokenizer import BYTE, Tokenizer
from isoflop.corpus.tokenizers.tokenizer_file import file_tokenizer, read_tokenizer_file
from isoflop.spec import TokenizerSpec


@dataclass(frozen=True)
class BpeToTrain:
    """A tokenizer that does not exist before the training text has been read.

    Attributes:
        vocab_size: tokens it is to have at most.
    """

    vocab_size: int

    def trained(self, texts: Iterable[bytes]) -> Tokenizer:
        """The tokenizer that `texts` give.

        Raises:
            IsoflopError: the library `tokenizers` is not installed, or as the texts do.
        """
        return self.saved(train_bpe(texts, self.vocab_size))

    def saved(self, content: bytes) -> Tokenizer:
        """The tokenizer of which `content` is the file.

        Raises:
            IsoflopError: it is not one.
        """
        return file_tokenizer(content, kind="bpe", where="The trained tokenizer", separator=SEPARATOR)


def make_tokenizer(spec: TokenizerSpec, *, base: Path = Path()) -> Tokenizer | BpeToTrain:
    """The tokenizer that the sweep file in the folder `base` asks for.

    Raises:
        IsoflopError: its file is missing or malformed, or needs the library `tokenizers`, which is not installed.
    """
    if spec.path is not None:
        path = base / spec.path
        return file_tokenizer(read_tokenizer_file(path), kind="file", where=repr(str(path)), separator=spec.separator)
    return BYTE if spec.vocab_size is None else BpeToTrain(spec.vocab_size)


def stated_tokenizer(spec: TokenizerSpec, *, base: Path = Path()) -> tuple[str, int]:
    """Name and vocabulary size as far as they are known without the text.

    A BPE has no name yet, and may turn out smaller.

    Raises:
        IsoflopError: as of `make_tokenizer`.
    """
    made = make_tokenizer(spec, base=base)
    return (f"bpe-{made.vocab_size}" if isinstance(made, BpeToTrain) else made.name), made.vocab_size


def tokenizer_request(spec: TokenizerSpec, *, base: Path) -> dict[str, object]:
    """What tells one request for a tokenizer from another: keys that are given, and the content of its file.

    Raises:
        IsoflopError: its file is missing or unreadable.
    """
    asked: dict[str, object] = spec.model_dump(mode="json", exclude_none=True)
    if spec.path is not None:
        asked["content"] = hashlib.sha256(read_tokenizer_file(base / spec.path)).hexdigest()
    return asked
