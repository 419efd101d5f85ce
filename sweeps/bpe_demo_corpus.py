"""Writes sweeps/bpe-demo.parquet, the text of bpe-demo.toml: a row for each file of the interpreter's own library.

python sweeps/bpe_demo_corpus.py
"""

import sysconfig
from pathlib import Path

import pyarrow
import pyarrow.parquet

root = Path(sysconfig.get_paths()["stdlib"])
paths = sorted(path for path in root.rglob("*.py") if not {"site-packages", "dist-packages"} & set(path.parts))
texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
table = pyarrow.table({"path": [path.relative_to(root).as_posix() for path in paths], "text": texts})
pyarrow.parquet.write_table(table, Path(__file__).with_name("bpe-demo.parquet"), compression="zstd")
print(f"{len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} million characters")
