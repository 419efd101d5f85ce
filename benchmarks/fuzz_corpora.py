"""Whether a corpus is built or refused in one sentence for every input, however odd: thousands of garbled ones.

    OMP_NUM_THREADS=1 python benchmarks/fuzz_corpora.py [--cases 10000] [--seed 0] [--only INDEX] [--keep FOLDER]

Each input is drawn by its own seed: documents or tokens in one of the formats, with odd records among them, perhaps
under keys that do not fit; and then perhaps damaged, byte by byte. The corpus is opened as `plan` does. Anything but a
corpus whose shards are intact or an IsoflopError of one line with the file in it is a find: another exception, a
warning, something left of a corpus that was refused, a file accepted although its end is cut off, more than
20 seconds. Exits with 1 if there are any. --keep leaves the inputs that were finds in a folder.
"""

import bz2
import gzip
import json
import lzma
import random
import shutil
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from fuzz import flipped_bits, fuzz, lost_piece, repeated_piece, what_was_raised
from pyarrow import parquet
from pydantic import ValidationError

from isoflop.corpus import open_corpus
from isoflop.corpus.integrity import fingerprint_of
from isoflop.errors import IsoflopError
from isoflop.spec import CorpusSpec, TokenizerSpec

WORDS = ("frontier", "Ärger", "日本", "a", "\U0001f600", "x" * 300, "return None", "\n", "\r\n", "\t", "<|endoftext|>")
ODD = (None, "", " ", "\0", "\ud800", "\ufeff", 7, -1.5, True, [], ["a"], {}, {"text": "a"}, "a" * 100_000)
KINDS = (
    pa.string(), pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(),
    pa.list_(pa.string()), pa.struct({"text": pa.string()}), pa.int64(), pa.null(),
)  # fmt: skip
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, 1),
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    ".xz": lambda content: lzma.compress(content, preset=0),
    ".bz2": lambda content: bz2.compress(content, 1),
}


@dataclass
class Drawn:
    """One garbled input.

    Attributes:
        steps: what it is and what was done to it, in words.
        contents: its files by name.
        corpus: the keys of [corpus], without its paths.
        tokenizer: the keys of [tokenizer].
        has_an_end: whether the first file says where it ends, so that none of it can be missed.
        must_fail: whether it must not be accepted.
    """

    steps: list[str]
    contents: dict[str, bytes]
    corpus: dict[str, Any]
    tokenizer: dict[str, Any] = field(default_factory=dict)
    has_an_end: bool = False
    must_fail: bool = False

    @property
    def how(self) -> str:
        """What was done to it."""
        return ", ".join(self.steps)


def drawn(seed: int, index: int) -> Drawn:
    """Input `index` of that seed."""
    draw = random.Random(f"{seed}-{index}")
    case = draw.choice(DRAWERS)(draw)
    if draw.random() < 0.15:
        _odd_key(draw, case)
    name = next(iter(case.contents))
    if draw.random() < 0.2 and case.contents[name]:
        case.steps.append("cut off")
        case.contents[name] = case.contents[name][: draw.randrange(len(case.contents[name]))]
        case.must_fail = case.has_an_end
        return case
    for _ in range(draw.choice((0, 0, 1, 1, 3))):
        name, damage = draw.choice(list(case.contents)), draw.choice(DAMAGES)
        case.steps.append(f"{damage.__name__.strip('_')} of {name}")
        case.contents[name] = damage(draw, case.contents[name])
    return case


def _texts(draw: random.Random) -> list[Any]:
    numbers = range(draw.choice((1, 2, 12, 60)))
    texts: list[Any] = [f"{n} " + " ".join(draw.choices(WORDS, k=draw.choice((1, 8)))) for n in numbers]
    for _ in range(draw.choice((0, 0, 1, 3))):
        texts.insert(draw.randrange(len(texts) + 1), draw.choice(ODD))
    return texts


def _only_texts(draw: random.Random) -> list[str | None]:
    return [text if isinstance(text, str) or text is None else str(text) for text in _texts(draw)]


def _bytes_of(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogatepass")


def _text(draw: random.Random) -> Drawn:
    content = b"\n".join(map(_bytes_of, _texts(draw)))
    if draw.random() < 0.1:
        content = draw.randbytes(200)
    return Drawn(["text"], {"x.txt": content, "y.txt": b"another\n"}, {"source": "files"})


def _packed_text(draw: random.Random) -> Drawn:
    suffix = draw.choice(list(PACK))
    content = b"\n".join(map(_bytes_of, _texts(draw)))
    packed = PACK[suffix](content)
    if draw.random() < 0.1:
        packed += PACK[draw.choice(list(PACK))](content)
        return Drawn([f"text {suffix}, twice"], {f"x.txt{suffix}": packed}, {"source": "files", "pattern": "*"})
    files = {f"x.txt{suffix}": packed, "y.txt": b"another\n"}
    return Drawn([f"text {suffix}"], files, {"source": "files", "pattern": "*"}, has_an_end=True)


def _bomb(draw: random.Random) -> Drawn:
    suffix = draw.choice((".gz", ".xz", ".zst"))
    content = BOMBS.get(suffix) or BOMBS.setdefault(suffix, _bomb_of(suffix))
    name = draw.choice((f"x.txt{suffix}", f"x.jsonl{suffix}"))
    source = "files" if ".txt" in name else "jsonl"
    return Drawn([f"bomb {suffix}"], {name: content}, {"source": source, "pattern": "*"}, must_fail=True)


def _bomb_of(suffix: str) -> bytes:
    content = b"bomb\n" * (4 << 20)
    return gzip.compress(content) if suffix == ".gz" else PACK[suffix](content)


def _json_lines(draw: random.Random) -> Drawn:
    rows = [{"id": n, "text": text} for n, text in enumerate(_texts(draw))]
    lines = [json.dumps(row) for row in rows]
    if draw.random() < 0.2:
        odd = (
            "null",
            "[]",
            "7",
            '"a"',
            "{",
            "[" * 100_000,
            '{"a": 1}',
            "NaN",
            '{"text": 1e999}',
            '{"text": "a"} b',
            "",
        )
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(odd))
    content = "\n".join(lines).encode() + draw.choice((b"", b"\n", b"\r\n", b"\n\n"))
    if draw.random() < 0.5:
        suffix = draw.choice(list(PACK))
        return Drawn(
            ["JSON lines", suffix], {f"x.jsonl{suffix}": PACK[suffix](content)}, {"source": "jsonl"}, has_an_end=True
        )
    return Drawn(["JSON lines"], {"x.jsonl": content}, {"source": "jsonl"})


def _table(draw: random.Random) -> pa.Table:
    kind, texts = draw.choice(KINDS), _only_texts(draw)
    texts = [text and text.replace("\ud800", "?") for text in texts]
    if pa.types.is_list(kind):
        column = pa.array([[text] for text in texts], kind)
    elif pa.types.is_struct(kind):
        column = pa.array([{"text": text} for text in texts], kind)
    elif pa.types.is_int64(kind) or pa.types.is_null(kind):
        column = pa.array([None] * len(texts), kind)
    else:
        column = pa.array(texts, pa.string()).cast(kind)
    table = pa.table({"id": range(len(texts)), draw.choice(("text", "text", "text", "body")): column})
    if draw.random() < 0.05:
        table = table.append_column("text", table.column(1))
    return table


def _parquet(draw: random.Random) -> Drawn:
    sink, table = pa.BufferOutputStream(), _table(draw)
    options = {"compression": draw.choice(("none", "snappy", "zstd", "gzip")), "row_group_size": draw.choice((3, 1000))}
    try:
        parquet.write_table(table, sink, data_page_version=draw.choice(("1.0", "2.0")), **options)
    except (pa.ArrowException, ValueError):
        return _json_lines(draw)
    content = sink.getvalue().to_pybytes()
    return Drawn(["Parquet", str(table.schema.types)], {"x.parquet": content}, {"source": "parquet"}, has_an_end=True)


def _arrow(draw: random.Random) -> Drawn:
    sink, table = pa.BufferOutputStream(), _table(draw)
    begin = draw.choice((pa.ipc.new_stream, pa.ipc.new_stream, pa.ipc.new_file))
    options = pa.ipc.IpcWriteOptions(compression=draw.choice((None, None, "zstd", "lz4")))
    with begin(sink, table.schema, options=options) as stream:
        stream.write_table(table, max_chunksize=draw.choice((2, 1000)))
    how = ["Arrow", begin.__name__, str(table.schema.types)]
    name = "data-00000-of-00001.arrow"
    return Drawn(how, {name: sink.getvalue().to_pybytes()}, {"source": "arrow"}, has_an_end=True)


def _ids(draw: random.Random, vocab_size: int) -> np.ndarray[Any, Any]:
    ids = np.random.default_rng(draw.randrange(1 << 30)).integers(0, vocab_size, draw.choice((0, 1, 70, 3000)))
    if draw.random() < 0.1 and len(ids):
        ids[draw.randrange(len(ids))] = draw.choice((vocab_size, vocab_size + 1, 65_535))
    return ids


def _bare_tokens(draw: random.Random) -> Drawn:
    vocab_size = draw.choice((256, 1000, 50_304, 128_256))
    content = _ids(draw, vocab_size).astype("<u2" if vocab_size <= 65_536 else "<u4").tobytes()
    keys = {"source": "tokens", "vocab_size": vocab_size, "format": draw.choice(("auto", "auto", "nanogpt", "llm.c"))}
    return Drawn(["bare tokens"], {"x.bin": content}, keys)


def _tokens_with_header(draw: random.Random) -> Drawn:
    vocab_size, width = draw.choice(((256, 1), (50_304, 2), (128_256, 4)))
    ids = _ids(draw, vocab_size)
    header = np.zeros(256, "<i4")
    magic, version = draw.choice(((20240520, 1), (20240801, 7), (20240520, 7), (20240801, 1)))
    n_tokens = len(ids) if draw.random() < 0.8 else draw.choice((0, -1, 1, len(ids) + 1, 2**31 - 1))
    header[:3] = magic, version, n_tokens
    content = header.tobytes() + ids.astype(f"<u{width}").tobytes()
    keys = {"source": "tokens", "vocab_size": vocab_size, "format": draw.choice(("auto", "llm.c"))}
    # Cut inside its first number it is one of bare tokens.
    return Drawn(["tokens with a header"], {"x.bin": content}, keys)


def _megatron(draw: random.Random) -> Drawn:
    code, dtype = draw.choice(((8, "<u2"), (4, "<i4"), (5, "<i8"), (1, "u1"), (6, "<f8"), (0, "<u2")))
    vocab_size = 256 if code == 1 else 1000
    sequences = [_ids(draw, vocab_size)[: draw.choice((5, 60, 3000))] for _ in range(draw.choice((0, 1, 5, 30)))]
    content = [sequence.astype(dtype).tobytes() for sequence in sequences]
    offsets = np.cumsum([0, *map(len, content)])[:-1]
    ends = draw.choice(([0, len(sequences)], list(range(len(sequences) + 1)), [0], [], [3, 1, 0]))
    header = b"MMIDIDX\0\0" + struct.pack("<QBQQ", draw.choice((1, 1, 1, 1, 2)), code, len(sequences), len(ends))
    arrays = (np.array([*map(len, sequences)], "<i4"), offsets.astype("<i8"), np.array(ends, "<i8"))
    index = header + b"".join(array.tobytes() for array in arrays)
    files = {"x.idx": index, "x.bin": b"".join(content)}
    keys = {"source": "tokens", "vocab_size": vocab_size, "format": draw.choice(("auto", "megatron"))}
    return Drawn(["Megatron"], files, keys, has_an_end=True)


def _mixture(draw: random.Random) -> Drawn:
    one, other = draw.choice(DRAWERS[:-1])(draw), draw.choice(DRAWERS[:-1])(draw)
    files = {f"a/{name}": content for name, content in one.contents.items()}
    files |= {f"b/{name}": content for name, content in other.contents.items()}
    weights = draw.choice(((1, 1), (1, 1000), (0.3, 0.7), (1e-9, 1)))
    parts = [{**case.corpus, "paths": [place], "weight": weight}
             for case, place, weight in zip((one, other), "ab", weights, strict=True)]  # fmt: skip
    return Drawn(
        ["mixture", *one.steps, *other.steps], files, {"mix": parts}, must_fail=one.must_fail or other.must_fail
    )


# A drawer of files of tokenizers belongs here: Drawn.tokenizer takes the keys that name one of `files`.
DRAWERS: tuple[Callable[[random.Random], Drawn], ...] = (
    _text, _packed_text, _packed_text, _json_lines, _json_lines, _parquet, _parquet, _arrow, _arrow, _bare_tokens,
    _tokens_with_header, _megatron, _megatron, *(_bomb,) * 1, _mixture,
)  # fmt: skip
BOMBS: dict[str, bytes] = {}


def _odd_key(draw: random.Random, case: Drawn) -> None:
    key, value = draw.choice((
        ("field", "body"), ("field", "id"), ("field", "\0"), ("source", "jsonl"), ("source", "parquet"),
        ("source", "arrow"), ("source", "files"), ("source", "tokens"), ("vocab_size", 2), ("separator", 0),
        ("heldout", "x.bin"), ("heldout", "gone"), ("heldout_fraction", 0.4), ("bytes_per_token", 4.0),
        ("pattern", "*"), ("format", "megatron"), ("pattern", "**/*.{txt,gz}"),
    ))  # fmt: skip
    case.steps.append(f"{key} = {value!r}")
    case.corpus[key] = value
    if key == "pattern" and value != "*":
        case.has_an_end = case.must_fail = False  # the file may not be among those that are read


def _added_bytes(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content) + 1)
    pieces = (
        draw.randbytes(5),
        b"\0",
        b"\xff\xfe",
        b"\xff" * 8,
        b"\xff\xff\xff\x7f",
        b"{",
        b"\x1f\x8b",
        b"\n",
        b"\0" * 100,
    )
    return content[:start] + draw.choice(pieces) + content[start:]


def _overwritten_number(draw: random.Random, content: bytes) -> bytes:
    width = draw.choice((4, 8))
    start = draw.randrange(0, max(1, len(content) - width), 1)
    number = draw.choice((0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 2), 1 << 20)).to_bytes(width, "little")
    return content[:start] + number + content[start + width :]


DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flipped_bits, flipped_bits, lost_piece, repeated_piece, _added_bytes, _overwritten_number,
)  # fmt: skip


def why_wrong(case: Drawn, folder: Path) -> tuple[str | None, str]:
    """What is wrong with what becomes of an input, None for nothing; and `built`, or the error it gave."""
    for name, content in case.contents.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(content)
    root = folder / "root"
    try:
        wrong, said = _outcome(case, folder / "in", root)
        left = [path.name for path in root.iterdir() if path.is_dir() and path.name != "index"] if root.exists() else []
        if said != "built" and left:
            return f"{left} is left of what was refused", said
        return wrong, said
    finally:
        shutil.rmtree(folder / "in", ignore_errors=True)
        shutil.rmtree(root, ignore_errors=True)


def _outcome(case: Drawn, base: Path, root: Path) -> tuple[str | None, str]:
    paths = {} if "mix" in case.corpus else {"paths": ["."]}
    try:
        spec = CorpusSpec.model_validate({**case.corpus, **paths})
        tokenizer = TokenizerSpec.model_validate(case.tokenizer)
    except ValidationError as error:
        return None, f"keys: {error.errors()[0]['msg']}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            corpus = open_corpus(spec, tokenizer, root=root, base=base)
    except IsoflopError as error:
        return _fault_of(error, base), error.message
    except Exception as error:  # every kind is a find
        return what_was_raised(error)
    if fingerprint_of(corpus) != corpus.manifest.fingerprint:
        return "shards that are not those of the fingerprint", "built"
    largest = max(int(shard.max()) for stream in (corpus.train, corpus.heldout) for shard in stream.shards)
    if largest >= corpus.facts.vocab_size:
        return f"token {largest} in a vocabulary of {corpus.facts.vocab_size}", "built"
    return ("accepted" if case.must_fail else None), "built"


def _fault_of(error: IsoflopError, base: Path) -> str | None:
    if error.message.count("\n") + error.hint.count("\n"):
        return "an error of several lines"
    if not error.hint:
        return "an error without a hint"
    if len(error.message) > 1000:
        return "an endless error"
    # What is said of a corpus as a whole names no file.
    of_all = ("The corpus (", "No held-out text", "corpus.", "The corpus is one document", "Part ")
    return None if str(base) in error.message or error.message.startswith(of_all) else "an error without its file"


if __name__ == "__main__":
    description = (__doc__ or "").partition("\n")[0]
    sys.exit(fuzz(description, accepted="built", drawn=lambda seed, index, _: drawn(seed, index), why_wrong=why_wrong))
