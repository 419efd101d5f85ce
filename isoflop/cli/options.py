"""Options that several commands share, with one wording each."""

import errno
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def named_path(given: str | Path) -> Path:
    """A path that the system can follow and a database can hold.

    Raises:
        typer.BadParameter: it is empty (as of an unset variable; it does not mean the current folder), too long, goes
            in circles, or is not UTF-8.
    """
    text = str(given)  # a default comes as it is
    if not text:
        raise typer.BadParameter("an empty path names nothing")
    try:
        text.encode()
        Path(text).stat()
    except UnicodeError:
        raise typer.BadParameter("the path is not UTF-8") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise typer.BadParameter(f"{error.strerror}") from None
    return Path(text)


SweepFile = Annotated[
    Path, typer.Argument(parser=named_path, metavar="SWEEP", help="Sweep file (TOML).", show_default=False)
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Sweep files, databases, or tables (CSV, JSON lines, Parquet) with budget_flops,n_params,n_tokens,loss. "
        "Several make one fit; LABEL=PATH names one.",
        show_default=False,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="NAME=THEIRS", help="What a table calls a column, as n_params=N; may be repeated."
    ),
]
Database = Annotated[
    Path, typer.Option("--db", parser=named_path, metavar="<path>", envvar="ISOFLOP_DB", help="Database.")
]
Artifacts = Annotated[
    Path,
    typer.Option(
        "--artifacts",
        parser=named_path,
        metavar="<path>",
        envvar="ISOFLOP_ARTIFACTS",
        help="Folder of run directories.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
SweepName = Annotated[
    str | None, typer.Option("--sweep", help="Which sweep of a database with several; of each database given.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="Budget in FLOPs to read the frontier at; may be repeated.")
]
Level = Annotated[float, typer.Option("--level", help="Nominal coverage of every interval, between 0.5 and 0.999.")]
Window = Annotated[
    float | None,
    typer.Option(
        "--window",
        metavar="<decades>",
        help="Recommended estimate from runs within so many decades of N of their budget's best, on wide grids.",
    ),
]


class SurfaceLossName(StrEnum):
    """What of the residuals of log loss the surface minimises."""

    HUBER = "huber"
    SQUARES = "squares"
    ABSOLUTE = "absolute"


SurfaceLoss = Annotated[
    SurfaceLossName,
    typer.Option(
        "--surface-loss",
        help="Residuals of log loss the surface minimises: Huber's (1e-3), squares or absolute values.",
    ),
]


Suggest = Annotated[
    int,
    typer.Option(
        "--suggest",
        min=0,
        max=200,
        metavar="<K>",
        help="Name the K runs that would tell most about the first target per FLOP.",
    ),
]


class ParamsName(StrEnum):
    """Which parameters N counts."""

    TOTAL = "total"
    NON_EMBEDDING = "non_embedding"
    MATMUL = "matmul"


class FlopsName(StrEnum):
    """How C counts FLOPs."""

    EXACT = "exact"
    NO_ATTENTION = "no-attention"
    SIX_ND = "6nd"


Params = Annotated[
    ParamsName | None, typer.Option("--params", help="Which parameters N counts, other than the sweep's own choice.")
]
Flops = Annotated[FlopsName, typer.Option("--flops", help="How C counts: all matrix products, no attention, 6ND.")]
Laws = Annotated[
    list[str] | None,
    typer.Option(
        "--law", metavar="<name>", help="Published law beside the fit, such as chinchilla-2, or all; repeatable."
    ),
]
Peak = Annotated[
    str | None, typer.Option("--peak", metavar="<FLOP/s>", help="Peak of a device: a target's cost is shown with it.")
]
Utilisation = Annotated[float, typer.Option("--utilisation", help="Share of the peak that training reaches.")]
Price = Annotated[float, typer.Option("--price", help="Price of a device-hour, in any currency.")]
NDevices = Annotated[int, typer.Option("--devices", min=1, help="Devices at work side by side.")]
CorpusTokens = Annotated[
    str | None,
    typer.Option("--corpus-tokens", metavar="<tokens>", help="Unique tokens at hand: what repeats would cost."),
]
InferenceTokens = Annotated[
    str | None,
    typer.Option("--inference-tokens", metavar="<tokens>", help="Tokens in use: which smaller model would pay."),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Workers; default: one per GPU, else per core.")]


class DeviceName(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Device = Annotated[DeviceName, typer.Option("--device", help="Devices to train on; auto: those guessed faster.")]

DEFAULT_DB = Path("isoflop.db")
DEFAULT_ARTIFACTS = Path("isoflop-artifacts")
DEFAULT_LEVEL = 0.90
DEFAULT_UTILISATION = 0.4
