"""What tokenising costs: beside the library's own batch encoding, with two processes, in memory, and after a kill.

The text is the standard library and then the packages installed beside it, up to `--mb`. A 4,096-token BPE is trained
on it once; all parts then encode with that file. Each number is the best of `--rounds`, the parts taking turns, each
in a process of its own; the library has one thread and the same documents.

    python benchmarks/tokenising.py [--mb 64] [--rounds 2] [--json]

It is not called tokenize.py: the standard library has a module of that name, which a program beside it would hide.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

VOCABULARY = 4096
HELDOUT = 0.02


def main() -> None:
    """Runs every part and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=64, help="size of the text")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one document")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(PARTS[given.part](given.base)))
        return
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        n_bytes = write_text(base, int(given.mb * 1e6))
        run_part("train", base)
        timed = ("library", "one", "two", "bytes")
        rounds = [{part: run_part(part, base) for part in timed} for _ in range(given.rounds)]
        best = {part: min((done[part] for done in rounds), key=lambda one: one["seconds"]) for part in timed}
        document = summary(n_bytes, best, resumed(base))
    print(json.dumps(document, indent=1) if given.json else as_text(document))


def write_text(base: Path, n_bytes: int) -> int:
    """Bytes of the documents written under `base`, one per module: the standard library's first, then packages'."""
    places = sysconfig.get_paths()
    library = [path for path in Path(places["stdlib"]).rglob("*.py") if "site-packages" not in path.parts]
    packages = Path(places["purelib"]).rglob("*.py")
    (base / "texts").mkdir()
    written = 0
    for number, path in enumerate([*sorted(library), *sorted(packages)]):
        text = path.read_bytes().replace(b"\0", b"")
        (base / "texts" / f"{number:06}.txt").write_bytes(text)
        written += len(text)
        if written >= n_bytes:
            break
    return written


def run_part(part: str, base: Path) -> dict[str, float]:
    """What the part measured, in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--base", str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def opened(base: Path, root: str, processes: int = 1, kind: str = "file", **options):
    """A corpus built anew."""
    from isoflop.corpus import open_corpus
    from isoflop.spec import CorpusSpec, TokenizerSpec

    keys = {"file": {"path": "tokenizer.json"}, "bpe": {"vocab_size": VOCABULARY}, "byte": {}}[kind]
    spec = CorpusSpec(source="files", paths=("texts",), heldout_fraction=HELDOUT)
    tokenizer = TokenizerSpec(kind=kind, **keys)
    return open_corpus(spec, tokenizer, root=base / root, base=base, processes=processes, **options)


def train(base: Path) -> dict[str, float]:
    """Trains the tokenizer that all parts use."""
    corpus = opened(base, "trained", kind="bpe")
    (base / "tokenizer.json").write_bytes(corpus.tokenizer.file)
    return {}


def library(base: Path) -> dict[str, float]:
    """`encode_batch_fast` on the same documents, already in memory as text, in batches as large as a build's."""
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1")
    from tokenizers import Tokenizer

    from isoflop.corpus.builder.document_batches import batches
    from isoflop.corpus.documents import Document

    made = Tokenizer.from_file(str(base / "tokenizer.json"))
    documents = [Document(path.name, 0, path.read_bytes()) for path in sorted((base / "texts").iterdir())]
    groups = [[text.decode(errors="replace") for text in batch.texts] for batch in batches(documents)]
    begun, cpu = time.perf_counter(), time.process_time()
    for group in groups:
        made.encode_batch_fast(group, add_special_tokens=False)
    return {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}


def build(base: Path, processes: int, kind: str = "file") -> dict[str, float]:
    """A whole build: files read and split, encoded, hashed and written. Imports are not counted, as the library's."""
    import tokenizers  # noqa: F401

    import isoflop.corpus.builder.writer  # noqa: F401

    with tempfile.TemporaryDirectory(dir=base) as root:
        begun = time.perf_counter()
        opened(base, root, processes, kind)
        seconds = time.perf_counter() - begun
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(used.ru_utime + used.ru_stime for used in (own, children))
    peaks = {"peak_mb": own.ru_maxrss / 1024, "encoder_peak_mb": children.ru_maxrss / 1024}
    return {"seconds": seconds, "cpu_seconds": cpu, **peaks}


def stopped(base: Path) -> dict[str, float]:
    """Builds half of the corpus and is killed."""

    def half_way(at) -> None:
        if at.stage == "tokenising the corpus" and at.share > 0.5:
            print(json.dumps({"n_bytes": at.n_bytes}), flush=True)
            os.kill(os.getpid(), 9)

    opened(base, "resumed", on_progress=half_way, note_seconds=0.5)
    return {}


def rest(base: Path) -> dict[str, float]:
    """Builds what is left of it."""
    heard: list[int] = []
    begun = time.perf_counter()
    opened(base, "resumed", on_progress=lambda at: heard.append(at.n_bytes), note_seconds=0.5)
    return {"seconds": time.perf_counter() - begun, "first": heard[0], "n_bytes": heard[-1]}


def resumed(base: Path) -> dict[str, float]:
    """What a build does after a kill half-way."""
    command = [sys.executable, __file__, "--part", "stopped", "--base", str(base)]
    killed = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    went_on = run_part("rest", base)
    n_left = went_on["n_bytes"] - killed["n_bytes"]
    return {"killed_at_mb": killed["n_bytes"] / 1e6, "left_mb": n_left / 1e6, "seconds": went_on["seconds"]}


PARTS = {
    "train": train,
    "library": library,
    "one": lambda base: build(base, 1),
    "two": lambda base: build(base, 2),
    "bytes": lambda base: build(base, 1, "byte"),
    "stopped": stopped,
    "rest": rest,
}


def summary(n_bytes: int, best: dict[str, dict[str, float]], after_kill: dict[str, float]) -> dict[str, object]:
    """The document: MB/s by the clock and by CPU, ratios, memory, and what a resumed build did."""
    rates = {part: {"mb_per_second": n_bytes / 1e6 / one["seconds"],
                    "mb_per_cpu_second": n_bytes / 1e6 / one["cpu_seconds"]} for part, one in best.items()}  # fmt: skip
    return {
        "n_bytes": n_bytes,
        "rates": rates,
        "library_over_one": best["one"]["seconds"] / best["library"]["seconds"],
        "two_over_one": best["one"]["seconds"] / best["two"]["seconds"],
        "peak_mb": {part: best[part]["peak_mb"] for part in ("one", "two", "bytes")},
        "encoder_peak_mb": best["two"]["encoder_peak_mb"],
        "after_kill": after_kill,
    }


def as_text(document: dict) -> str:
    """The document as lines."""
    names = {"library": "encode_batch_fast, one thread", "one": "a build with one process",
             "two": "a build with two processes", "bytes": "a build of bytes"}  # fmt: skip
    lines = [f"{document['n_bytes'] / 1e6:.1f} MB of text, {VOCABULARY} tokens"]
    for part, name in names.items():
        rate = document["rates"][part]
        lines.append(
            f"  {name:30} {rate['mb_per_second']:7.2f} MB/s {rate['mb_per_cpu_second']:7.2f} MB per CPU second"
        )
    peaks = ", ".join(f"{names[part]} {peak:.0f} MB" for part, peak in document["peak_mb"].items())
    after = document["after_kill"]
    return "\n".join([
        *lines,
        f"one process takes {document['library_over_one']:.2f} times the library's time (aim: at most 1.2)",
        f"two processes are {document['two_over_one']:.2f} times as fast as one (aim: 1.8 on two idle cores)",
        f"peak memory: {peaks}; an encoder {document['encoder_peak_mb']:.0f} MB (aim: at most 300 MB)",
        f"killed at {after['killed_at_mb']:.1f} MB, the next build encoded the other {after['left_mb']:.1f} MB "
        f"in {after['seconds']:.1f} s",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
