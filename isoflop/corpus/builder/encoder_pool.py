"""One process per core that encodes batches of documents; results come back in the order of the documents.

This process encodes too, in a thread, because the library works without Python's lock: two processes are this one and
another. The others start while the corpus is still read for its split.

Processes of our own with a pipe each, rather than multiprocessing's: they end by themselves when this process dies, one
that dies is noticed at once, and they import nothing of the program that builds the corpus.
"""

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Pipe

from isoflop.corpus.builder.document_batches import Batch, Encoded, batches, encode_batch
from isoflop.corpus.builder.encoder_process import Setup
from isoflop.corpus.builder.line_set import LineSet
from isoflop.corpus.documents import Document
from isoflop.corpus.tokenizers.tokenizer import Tokenizer
from isoflop.corpus.tokenizers.tokenizer_choice import BpeToTrain
from isoflop.errors import IsoflopError

# Starting processes takes about as long as encoding this much text.
SMALLEST_SHARED_BYTES = 4 << 20

_CODE = """\
import sys
sys.path[:] = sys.argv[2:]
from isoflop.corpus.builder.encoder_process import serve
serve(int(sys.argv[1]))
"""

# The documents of a stream, encoded a batch at a time and in order.
Encode = Callable[[Iterable[Document]], Iterator[Encoded]]


class EncoderDiedError(IsoflopError):
    """A process that encodes has died; what is written is as good as before."""


class EncoderPool:
    """Processes that are started, and wait for a tokenizer."""

    def __init__(self, started: "list[_EncoderProcess]") -> None:
        self._started = started

    @contextmanager
    def encoder(self, tokenizer: Tokenizer, lines: LineSet) -> Iterator[Encode]:
        """What encodes documents, and tells which of the held-out `lines` they have."""
        here = partial(encode_batch, tokenizer, lines)
        if not self._started:
            yield lambda documents: map(here, batches(documents))
            return
        assert tokenizer.file is not None and tokenizer.separator is not None  # as `encoder_pool` looked at
        setup = Setup(tokenizer.file, tokenizer.name, tokenizer.vocab_size, tokenizer.separator, lines)
        free = queue.SimpleQueue[Callable[[Batch], Encoded]]()
        for process in self._started:
            process.setup = setup
            free.put(process.encode)
        free.put(here)

        def encode(batch: Batch) -> Encoded:
            encoder = free.get()
            try:
                return encoder(batch)
            finally:
                free.put(encoder)

        n_encoders = len(self._started) + 1
        with ThreadPoolExecutor(n_encoders) as threads:
            try:
                yield lambda documents: _in_order(threads, encode, documents, most=2 * n_encoders)
            finally:
                for process in self._started:
                    process.end()  # an answer that nobody waits for
                threads.shutdown(wait=False, cancel_futures=True)


@contextmanager
def encoder_pool(tokenizer: Tokenizer | BpeToTrain, *, processes: int, n_bytes: int) -> Iterator[EncoderPool]:
    """A pool for the tokenizer and about `n_bytes` of text, with no process but this one where more are not worth it.

    The byte tokenizer is as fast as reading, and tokens that are ready are only copied.
    """
    has_file = isinstance(tokenizer, BpeToTrain) or (tokenizer.file is not None and tokenizer.separator is not None)
    n_started = processes - 1 if has_file and n_bytes >= SMALLEST_SHARED_BYTES else 0
    with ExitStack() as stack:
        started: list[_EncoderProcess] = []
        for _ in range(n_started):
            started.append(_EncoderProcess())
            stack.callback(started[-1].end)
        yield EncoderPool(started)


def _in_order(
    threads: ThreadPoolExecutor, encode: Callable[[Batch], Encoded], documents: Iterable[Document], most: int
) -> Iterator[Encoded]:
    waiting = deque[Future[Encoded]]()
    for batch in batches(documents):
        waiting.append(threads.submit(encode, batch))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _EncoderProcess:
    """A process that encodes.

    Attributes:
        setup: what it must be told before its first batch.
    """

    def __init__(self) -> None:
        self.setup: Setup | None = None
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _CODE, str(theirs.fileno()), *filter(None, sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the builder, which ends this process
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def encode(self, batch: Batch) -> Encoded:
        try:
            if self.setup is not None:
                self._pipe.send(self.setup)
                self.setup = None
            self._pipe.send(batch)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            status = self._process.wait()
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise EncoderDiedError(
                f"A process that tokenises the corpus {how}.",
                hint="Look for what ended it, such as too little memory, and run the command again: it goes on from "
                "what is written.",
            ) from None
        if isinstance(answer, Encoded):
            return answer
        message, hint = answer
        raise IsoflopError(message, hint=hint)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()
