"""Any tokenizer.json as a Tokenizer, through the library `tokenizers`. Malformed files end as one sentence.

The library raises bare exceptions, and a panic inside it is a BaseException: both are caught here and nowhere else.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoflop.corpus.tokenizers.tokenizer import Sizes, Tokenizer, Tokens, token_dtype
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.spec.corpus_spec import LARGEST_VOCABULARY

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

TOKENIZER_FILE = "tokenizer.json"

# Four times the file of Gemma's 262,144 tokens.
LARGEST_FILE = 1 << 27
# What ends a document in GPT-2, Qwen and GPT-NeoX; Llama 3; Llama 2, T5 and Mistral; Gemma.
_END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_LONGEST_REASON = 200
_NAME = re.compile(r"(bpe|file)-\d+-[0-9a-f]{8}")


def tokenizer_name(kind: str, vocab_size: int, content: bytes) -> str:
    """What a tokenizer made of a tokenizer.json with that content is called: `bpe-4096-0a1b2c3d`."""
    return f"{kind}-{vocab_size}-{hashlib.sha256(content).hexdigest()[:8]}"


def has_a_file(name: str) -> bool:
    """Whether a tokenizer of that name is made of a tokenizer.json."""
    return _NAME.fullmatch(name) is not None


def is_named_after(name: str, content: bytes) -> bool:
    """Whether the tokenizer of that name is made of a file with that content."""
    return name.rpartition("-")[2] == hashlib.sha256(content).hexdigest()[:8]


def read_tokenizer_file(path: Path) -> bytes:
    """The content of the file at `path`, unchecked.

    Raises:
        IsoflopError: missing, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise IsoflopError(
            f"Cannot read the tokenizer {str(path)!r}: {why_inaccessible(error, path)}.",
            hint="tokenizer.path is relative to the sweep file; give a readable tokenizer.json.",
        ) from None
    if len(content) > LARGEST_FILE:
        raise IsoflopError(
            f"{str(path)!r} has more than {LARGEST_FILE} bytes, too many for a tokenizer.json.",
            hint="Give the tokenizer.json of a model as its maker published it.",
        )
    return content


def file_tokenizer(content: bytes, *, kind: str, where: str, separator: str | None = None) -> Tokenizer:
    """The tokenizer that the content of a tokenizer.json describes; `where` names it in errors.

    The vocabulary reaches to its largest id, added tokens included. `separator` is the text of the token that ends a
    document: by default the one end-of-text token that the file has.

    Raises:
        IsoflopError: no tokenizer.json, no such separator, a random one, or a vocabulary beyond what is trained.
    """
    library = _parsed(content, where)
    with _guarded(where):
        ids = library.get_vocab(with_added_tokens=True)
        dropout = getattr(library.model, "dropout", None)
    if dropout:
        raise _malformed(where, f"it has a dropout of {dropout:g}: the same text would get other tokens each time")
    vocab_size = max(ids.values(), default=0) + 1
    if vocab_size > LARGEST_VOCABULARY:
        raise _malformed(
            where, f"its largest id is {vocab_size - 1}, beyond the {LARGEST_VOCABULARY} tokens of a model"
        )
    chosen = _separator(ids, separator, where)
    name = tokenizer_name(kind, vocab_size, content)
    return _Made(library, where).tokenizer(name, vocab_size, ids[chosen], content)


def saved_tokenizer(content: bytes, *, name: str, vocab_size: int, separator: int, where: str) -> Tokenizer:
    """The tokenizer that a built corpus was encoded with, of the file beside its shards.

    Raises:
        IsoflopError: no tokenizer.json.
    """
    return _Made(_parsed(content, where), where).tokenizer(name, vocab_size, separator, content)


def _parsed(content: bytes, where: str) -> "Library":
    library = tokenizers_library()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _malformed(where, f"byte {error.start + 1} is not UTF-8") from None
    with _guarded(where), _quiet_panics():
        parsed = library.from_str(text)
        parsed.no_truncation()
        parsed.no_padding()
        # The text may speak of its separator: that is text, and ends no document.
        parsed.encode_special_tokens = True
    return parsed


def tokenizers_library() -> "type[Library]":
    """The library's class, set to one thread: a build has a process for each core.

    Raises:
        IsoflopError: it is not installed.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    try:
        from tokenizers import Tokenizer as Library
    except ImportError:
        raise IsoflopError(
            "Tokenizers other than bytes need the library tokenizers, which is not installed.",
            hint="Install it: pip install 'isoflop[bpe]'.",
        ) from None
    return Library


@contextmanager
def _guarded(where: str) -> Iterator[None]:
    """Whatever the library raises, panics included, as an error of the file."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, IsoflopError):
        raise
    except BaseException as error:  # a panic's class cannot be imported
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise _malformed(where, reason) from None


@contextmanager
def _quiet_panics() -> Iterator[None]:
    """The library prints its panics to the descriptor of stderr itself; what is wrong is said by the error."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed, so nobody sees them
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _malformed(where: str, reason: str) -> IsoflopError:
    return IsoflopError(
        f"{where} is not a usable tokenizer.json: {reason}.",
        hint="Give a tokenizer.json as the library tokenizers saves it, such as that of a model on Hugging Face.",
    )


def _separator(ids: dict[str, int], asked: str | None, where: str) -> str:
    if asked is not None:
        if asked in ids:
            return asked
        raise IsoflopError(
            f"{where} has no token {asked!r} to end documents with.",
            hint="tokenizer.separator is the text of a token of the file, such as <|endoftext|>.",
        )
    found = [token for token in _END_OF_TEXT if token in ids]
    if len(found) == 1:
        return found[0]
    has = f"has several tokens that may end a document ({', '.join(found)})" if found else "names no end of a text"
    raise IsoflopError(f"{where} {has}.", hint='Say which token ends a document: tokenizer.separator = "</s>", say.')


@dataclass(frozen=True)
class _Made:
    """What the library made of a file; `where` names the file in errors."""

    library: "Library"
    where: str

    def tokenizer(self, name: str, vocab_size: int, separator: int, content: bytes) -> Tokenizer:
        """It, as a Tokenizer, whose separator no text can contain."""
        dtype = token_dtype(vocab_size)

        def encode_many(texts: Sequence[bytes]) -> list[Tokens]:
            return [np.array([*ids, separator], dtype) for ids in self._encoded(texts)]

        def decode(tokens: Tokens) -> bytes:
            if tokens.size and tokens.max() >= vocab_size:
                raise ValueError(f"token {tokens.max()} is outside the vocabulary of {vocab_size}")
            pieces = np.split(tokens, np.flatnonzero(tokens == separator))
            return b"".join(self._decoded(piece[piece != separator].tolist()) for piece in pieces)

        self._refuse_separator_in_text(separator)
        return Tokenizer(
            name=name,
            vocab_size=vocab_size,
            separator=separator,
            encode=lambda text: encode_many([text])[0],
            decode=decode,
            together=encode_many,
            file=content,
            keeps_any_bytes=False,
            sized=lambda text: self._sized(text, np.array([separator], dtype)),
        )

    def _encoded(self, texts: Sequence[bytes]) -> list[list[int]]:
        readable = [text.decode(errors="replace") for text in texts]
        with _guarded(self.where):
            return [encoding.ids for encoding in self.library.encode_batch_fast(readable, add_special_tokens=False)]

    def _sized(self, text: bytes, separator: Tokens) -> tuple[Tokens, Sizes]:
        readable = text.decode(errors="replace")
        with _guarded(self.where):
            found = self.library.encode(readable, add_special_tokens=False)
        content = np.frombuffer(readable.encode(), np.uint8)
        starts = np.append(np.flatnonzero((content & 0xC0) != 0x80), len(content))  # of characters in UTF-8
        # The library's offsets are of characters, and may leave out what a token does not show.
        ends = np.maximum.accumulate(np.array([end for _, end in found.offsets], np.int64))
        sizes = np.diff(starts[ends], prepend=0)
        return np.append(np.array(found.ids, separator.dtype), separator), np.append(sizes, 0)

    def _decoded(self, ids: list[int]) -> bytes:
        with _guarded(self.where):
            return self.library.decode(ids, skip_special_tokens=False).encode() if ids else b""

    def _refuse_separator_in_text(self, separator: int) -> None:
        text = self.library.id_to_token(separator) or ""
        if separator in self._encoded([text.encode()])[0]:
            raise IsoflopError(
                f"{self.where}: a text that holds {text!r} would end there, because that token is not a special one.",
                hint='Mark it "special": true under added_tokens, or give another tokenizer.separator.',
            )
