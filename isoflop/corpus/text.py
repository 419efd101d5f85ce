"""What counts as text: bytes without NUL, in whatever encoding. Everything else is refused by its content."""

import codecs
from dataclasses import dataclass

from isoflop.errors import IsoflopError


@dataclass(frozen=True)
class Signature:
    """Bytes that files of one format have in one place.

    Attributes:
        format: as a sentence names it: `a PNG image`.
        start: where in the file they are.
        packed: whether the file may hold text that a program unpacks.
    """

    content: bytes
    format: str
    start: int = 0
    packed: bool = False

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins with `head` has them."""
        return head.startswith(self.content, self.start)


# Suffixes of files that are unpacked as they are read.
UNPACKED = (".gz", ".zst", ".xz", ".bz2")

SIGNATURES = (
    Signature(b"\x1f\x8b", "gzip", packed=True),
    Signature(b"\x28\xb5\x2f\xfd", "zstd", packed=True),
    Signature(b"\xfd7zXZ\x00", "xz", packed=True),
    Signature(b"BZh", "bzip2", packed=True),
    Signature(b"\x04\x22\x4d\x18", "lz4", packed=True),
    Signature(b"\x1f\x9d", "compress (.Z)", packed=True),
    Signature(b"PK\x03\x04", "a ZIP archive, as .docx, .npz and .pt files do", packed=True),
    Signature(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", packed=True),
    Signature(b"Rar!\x1a\x07", "a RAR archive", packed=True),
    Signature(b"ustar", "a tar archive", start=257, packed=True),
    Signature(b"PAR1", "Parquet"),
    Signature(b"ARROW1\x00\x00", "Arrow"),
    Signature(b"\xff\xff\xff\xff", "an Arrow stream"),
    Signature(b"ORC", "ORC"),
    Signature(b"Obj\x01", "Avro"),
    Signature(b"\x93NUMPY", "a NumPy array"),
    Signature(b"\x89HDF\r\n\x1a\n", "HDF5"),
    Signature(b"MMIDIDX\x00\x00", "an index of Megatron's tokens"),
    Signature(b"SQLite format 3\x00", "an SQLite database"),
    Signature(b"GGUF", "a GGUF model"),
    Signature(b"%PDF-", "a PDF document"),
    Signature(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    Signature(b"\x89PNG\r\n\x1a\n", "a PNG image"),
    Signature(b"\xff\xd8\xff", "a JPEG image"),
    Signature(b"GIF8", "a GIF image"),
    Signature(b"II*\x00", "a TIFF image"),
    Signature(b"MM\x00*", "a TIFF image"),
    Signature(b"WEBP", "a WebP image", start=8),
    Signature(b"WAVE", "WAV sound", start=8),
    Signature(b"ID3", "MP3 sound"),
    Signature(b"OggS", "Ogg sound"),
    Signature(b"fLaC", "FLAC sound"),
    Signature(b"ftyp", "MP4 video", start=4),
    Signature(b"\x7fELF", "a program (ELF)"),
    Signature(b"\x00asm", "a program (WebAssembly)"),
    Signature(b"\xca\xfe\xba\xbe", "a program (Java or Mach-O)"),
    # Before UTF-16, whose mark is the first half.
    Signature(b"\xff\xfe\x00\x00", "UTF-32 text"),
    Signature(b"\x00\x00\xfe\xff", "UTF-32 text"),
    Signature(b"\xff\xfe", "UTF-16 text"),
    Signature(b"\xfe\xff", "UTF-16 text"),
)

# Bytes of a document that are looked at one by one.
_HEAD_BYTES = 4096
# Control characters that no 8-bit encoding of text uses: without tab, ends of lines and pages, bell, backspace, escape,
# the shifts of ISO 2022 and the styles of IRC. Random bytes have one in 16.
_CONTROLS = bytes({0x01, *range(0x04, 0x07), *range(0x10, 0x16), *range(0x17, 0x1B), 0x1C, 0x1E})
_CONTROL_SHARE = 1 / 50


def refuse_binary(content: bytes, *, path: str, start: int) -> None:
    """Nothing; `content` is what the file at `path` has from byte `start` on, to its end or to that of a document.

    Text has no NUL byte, does not begin like a file of a known binary format, and where it is not UTF-8 it has few
    control characters. That admits Latin-1, KOI8-R, Shift JIS or GB 18030 as they are, and refuses UTF-16.

    Raises:
        IsoflopError: it is not text.
    """
    head = content[:_HEAD_BYTES]
    signature = _signature(head) if start == 0 else None
    nul = content.find(b"\0")
    is_binary = nul >= 0 or _has_many_controls(head)
    # A text may begin with the letters PAR1; it does not begin with the bytes of gzip.
    if not is_binary and (signature is None or _is_ascii_text(signature.content)):
        return
    if signature is not None:
        raise IsoflopError(f"{path!r} is not text: it begins like {signature.format}.", hint=_hint(signature))
    found = f"byte {start + nul + 1} is NUL" if nul >= 0 else "it is not UTF-8 and full of control characters"
    raise IsoflopError(f"{path!r} is not text: {found}.", hint=_hint(None))


def _signature(head: bytes) -> Signature | None:
    return next((signature for signature in SIGNATURES if signature.fits(head)), None)


def _is_ascii_text(content: bytes) -> bool:
    return content.isascii() and content.decode("ascii").isprintable()


def _has_many_controls(head: bytes) -> bool:
    n_controls = len(head) - len(head.translate(None, delete=_CONTROLS))
    return n_controls > _CONTROL_SHARE * len(head) and not _is_utf8(head)


def _is_utf8(head: bytes) -> bool:
    """Whether `head` is UTF-8; its last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _hint(signature: Signature | None) -> str:
    leave_out = "leave the file out with corpus.paths or corpus.pattern"
    if signature is not None and signature.packed:
        suffixes = ", ".join(UNPACKED)
        return f"Unpack it and train on the text inside ({suffixes} are unpacked by their suffix), or {leave_out}."
    if signature is not None and signature.format.startswith("UTF-"):
        return f"Convert it to UTF-8 (iconv -t UTF-8), or {leave_out}."
    return f"Another corpus.source may read it; else extract the text, or {leave_out}."
