"""Files of bare tokens: where the tokens begin, how wide they are and how many there are."""

import struct
from dataclasses import dataclass
from pathlib import Path

from isoflop.corpus.documents import SourceFile
from isoflop.corpus.formats.record_faults import damaged
from isoflop.spec.corpus_spec import TokenFormat

INDEX_MAGIC = b"MMIDIDX\x00\x00"
# karpathy/llm.c dev/data/data_common.py and KellerJordan/modded-nanogpt data/: 256 int32, of which the first three are
# magic, version and number of tokens. Magic and version -> bytes of a token.
_HEADER_BYTES = 1024
_VERSIONS = {(20240520, 1): 2, (20240801, 7): 4}
_MAGICS = {magic for magic, _ in _VERSIONS}


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of a file are.

    Attributes:
        start: bytes before the first token.
        width: bytes of a token, which is an unsigned little-endian number.
    """

    start: int
    width: int
    n_tokens: int


def index_path(path: str) -> Path:
    """Where Megatron's index of the file at `path` is."""
    return Path(path).with_suffix(".idx")


def layout_of(file: SourceFile, layout: TokenFormat, *, width: int) -> TokenLayout:
    """Where the tokens of a file without an index are; `width` is that of a bare token, as the vocabulary says.

    Raises:
        OSError: it is gone or unreadable.
        IsoflopError: its header is of no known version or disagrees with its size.
    """
    with Path(file.path).open("rb") as opened:
        head = opened.read(12)
    has_header = len(head) == 12 and struct.unpack("<i", head[:4])[0] in _MAGICS
    if layout == "llm.c" or (layout == "auto" and has_header):
        return _with_header(file, head, has_header)
    if file.n_bytes % width:
        raise damaged(repr(file.path), f"has {file.n_bytes} bytes, no multiple of the {width} of a token")
    return TokenLayout(0, width, file.n_bytes // width)


def _with_header(file: SourceFile, head: bytes, has_header: bool) -> TokenLayout:
    if not has_header or file.n_bytes < _HEADER_BYTES:
        raise damaged(
            repr(file.path), "has no header of llm.c's or modded-nanogpt's (1024 bytes that begin with 20240520)"
        )
    magic, version, n_tokens = struct.unpack("<iii", head)
    if (magic, version) not in _VERSIONS:
        known = " and ".join(f"{magic} version {version}" for magic, version in _VERSIONS)
        raise damaged(repr(file.path), f"has a header {magic} version {version}; known are {known}")
    n_bytes = file.n_bytes - _HEADER_BYTES
    # Forks put tokens of one byte under the same header: the file's size tells.
    widths = [width for width in (1, 2, 4) if n_tokens >= 0 and n_bytes == n_tokens * width]
    if not widths:
        needed = _HEADER_BYTES + max(0, n_tokens) * _VERSIONS[magic, version]
        raise damaged(repr(file.path), f"has a header for {n_tokens} tokens, {needed} bytes, but {file.n_bytes} bytes")
    return TokenLayout(_HEADER_BYTES, widths[0] if n_tokens else 2, n_tokens)
