"""One process per core that encodes batches of documents; results come back in the order of the documents.

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
from multiprocessing.connection import Pipe

from isoflop.corpus.document_batches import Batch, Encoded, batches, encode_batch
from isoflop.corpus.documents import Document
from isoflop.corpus.encoder_process import Setup
from isoflop.corpus.line_set import LineSet
from isoflop.corpus.tokenizer import Tokenizer
from isoflop.errors import IsoflopError

# Starting processes takes about as long as encoding this much text.
SMALLEST_SHARED_BYTES = 4 << 20

_CODE = (
    "import sys; sys.path[:] = sys.argv[2:]; from isoflop.corpus.encoder_process import serve; serve(int(sys.argv[1]))"
)

# The documents of a stream, encoded a batch at a time and in order.
Encode = Callable[[Iterable[Document]], Iterator[Encoded]]


class EncoderDiedError(IsoflopError):
    """A process that encodes has died; what is written is as good as before."""


@contextmanager
def encoder(tokenizer: Tokenizer, lines: LineSet, *, processes: int, n_bytes: int) -> Iterator[Encode]:
    """What encodes about `n_bytes` of text, with that many processes where they are worth their start.

    The byte tokenizer is as fast as reading and stays in this process.
    """
    if processes == 1 or tokenizer.file is None or tokenizer.separator is None or n_bytes < SMALLEST_SHARED_BYTES:
        yield lambda documents: (encode_batch(tokenizer, lines, batch) for batch in batches(documents))
        return
    setup = Setup(tokenizer.file, tokenizer.name, tokenizer.vocab_size, tokenizer.separator, lines)
    with ExitStack() as started:
        threads = ThreadPoolExecutor(processes)
        started.callback(threads.shutdown)
        free = queue.SimpleQueue[_EncoderProcess]()
        for _ in range(processes):
            process = _EncoderProcess(setup)
            started.callback(process.end)
            free.put(process)
        started.callback(threads.shutdown, wait=False, cancel_futures=True)

        def encode(batch: Batch) -> Encoded:
            process = free.get()
            try:
                return process.encode(batch)
            finally:
                free.put(process)

        yield lambda documents: _in_order(threads, encode, documents, most=2 * processes)


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
    def __init__(self, setup: Setup) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", "-c", _CODE, str(theirs.fileno()), *filter(None, sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the builder, which ends this process
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self._setup: Setup | None = setup

    def encode(self, batch: Batch) -> Encoded:
        try:
            if self._setup is not None:
                self._pipe.send(self._setup)
                self._setup = None
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
