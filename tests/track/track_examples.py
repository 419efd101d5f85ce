"""Runs and a fit to be tracked."""

import struct
import zlib

from isoflop.result import CurvePoint
from isoflop.track import TrackedFit, TrackedRun

CURVE = tuple(CurvePoint(step=step, n_tokens=step * 256, loss=5.0 - step / 1000) for step in (10, 500, 1200))


def make_tracked(key: str = "6b71faa31031", *, status: str = "completed", reason: str | None = None) -> TrackedRun:
    losses = {"val_loss": 3.25, "bits_per_byte": 1.5} if status == "completed" else {}
    return TrackedRun(
        sweep="demo",
        key=key,
        name="N 25.3k seed 0",
        group="C 1.00e11",
        status=status,
        reason=reason,
        simulated=False,
        parameters={"budget_flops": 1e11, "n_params_total": 25_300, "n_tokens": 307_200, "seed": 3, "role": "grid"},
        outcome={**losses, "seconds": 60.0},
        curve=CURVE,
        ended_at=1_800_000_000.0,
        seconds=60.0,
    )


def make_fit() -> TrackedFit:
    return TrackedFit("demo", False, {"exponent_a": 0.5, "coef_n": 0.1}, png(), 1_800_000_100.0)


def png() -> bytes:
    """A picture of two by three grey dots."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x80\x80" for _ in range(3))
    head = struct.pack(">IIBBBBB", 2, 3, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
