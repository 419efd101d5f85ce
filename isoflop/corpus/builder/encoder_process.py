"""A process that encodes batches of documents until its pipe closes, which it also does when its builder dies."""

from dataclasses import dataclass
from multiprocessing.connection import Connection

from isoflop.corpus.builder.document_batches import Batch, encode_batch
from isoflop.corpus.builder.line_set import LineSet
from isoflop.corpus.tokenizers.tokenizer_file import saved_tokenizer, tokenizers_library
from isoflop.errors import IsoflopError


@dataclass(frozen=True)
class Setup:
    """What the process must know before its first batch: the tokenizer, and the held-out lines to look for."""

    file: bytes
    name: str
    vocab_size: int
    separator: int
    lines: LineSet


def serve(descriptor: int) -> None:
    """Answers each batch of documents that comes through the pipe with what became of it, or message and hint."""
    tokenizers_library()  # it takes a while to load, and the setup to come
    with Connection(descriptor) as pipe:
        try:
            setup: Setup = pipe.recv()
            tokenizer = saved_tokenizer(
                setup.file,
                name=setup.name,
                vocab_size=setup.vocab_size,
                separator=setup.separator,
                where=f"The tokenizer {setup.name}",
            )
            while True:
                batch: Batch = pipe.recv()
                try:
                    pipe.send(encode_batch(tokenizer, setup.lines, batch))
                except IsoflopError as error:
                    pipe.send((error.message, error.hint))
        except (EOFError, ConnectionError):
            return
