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
        raise typer.BadParameter("the path is empty")
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
        help="Sweep files, databases, or tables (CSV, JSON, Parquet, Excel) with budget_flops,n_params,n_tokens,loss. "
        "Several sources are fitted together; LABEL=PATH gives a source a label.",
        show_default=False,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="[LABEL:]NAME=THEIRS",
        help="The table's own name of a column, such as n_params=N; a product such as params_M*1e6; or "
        "budget_flops=6ND, n_tokens=C/6N, n_params=C/6D. May be repeated: the first that a table has "
        "counts. LABEL: for one source.",
    ),
]
BudgetTolerance = Annotated[
    float | None,
    typer.Option(
        "--budget-tolerance",
        metavar="<share>",
        help="Runs of a table whose FLOPs differ by no more than this share are one budget, such as 0.02; 0: exactly "
        "equal ones. Default: groups that are clearly apart.",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--budgets",
        metavar="<C1,C2,...>",
        help="Budgets in FLOPs to which the runs of a table belong, each to the nearest within a quarter.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COLUMN=VALUE",
        help="Read only the rows of tables whose COLUMN is VALUE (or is not: COLUMN!=VALUE); may be repeated.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option("--group", metavar="COLUMN", help="One fit for each value of COLUMN of the tables."),
]


class LossName(StrEnum):
    """Which loss of a sweep is fitted."""

    NATS = "nats"
    BITS_PER_BYTE = "bits-per-byte"


Loss = Annotated[
    LossName | None,
    typer.Option(
        "--loss",
        help="Loss of sweeps: nats per token or bits per byte. Default: nats; bits per byte where tokenizers differ.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="<name>",
        help="Fit this metric of the models in place of the loss, as `isoflop evaluate` names it; of an accuracy, "
        "where higher is better, 1 - accuracy is fitted.",
    ),
]


class LossUnitName(StrEnum):
    """What a table's losses are in."""

    NATS = "nats"
    BITS = "bits"
    BITS_PER_BYTE = "bits-per-byte"
    PERPLEXITY = "perplexity"


LossUnitOption = Annotated[
    LossUnitName | None,
    typer.Option(
        "--loss-unit",
        help="What the tables' losses are in, where their column's name does not tell; of a perplexity the logarithm "
        "is fitted.",
    ),
]
HigherIsBetter = Annotated[
    bool,
    typer.Option("--higher-is-better", help="The loss is a score such as an accuracy: 1 - score is fitted."),
]
NoUnitCheck = Annotated[
    bool,
    typer.Option("--no-unit-check", help="Take tables whose C / (6 N D) or D / N is that of no transformer."),
]
Database = Annotated[
    Path, typer.Option("--db", parser=named_path, metavar="<path>", envvar="ISOFLOP_DB", help="Database file (SQLite).")
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
Events = Annotated[
    str | None,
    typer.Option(
        "--events",
        metavar="<file>",
        help="Append every event of the sweep to this file as a line of JSON, for other programs; - for stdout, the "
        "summary then being the last event.",
    ),
]
SweepName = Annotated[
    str | None,
    typer.Option("--sweep", help="Sweep to read where a database holds several; applies to every database given."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", help="Budget in FLOPs whose best size and token count are wanted; may be repeated."),
]
Level = Annotated[float, typer.Option("--level", help="Nominal coverage of every interval, between 0.5 and 0.999.")]
Window = Annotated[
    float | None,
    typer.Option(
        "--window",
        metavar="<decades>",
        help="Use only runs within this many decades of N of each budget's best run (recommended estimate, grids wider "
        "than 0.9 decades).",
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
        help="What the surface minimises of the residuals of log loss: Huber's function (1e-3), squares or absolute "
        "values.",
    ),
]


Suggest = Annotated[
    int,
    typer.Option(
        "--suggest",
        min=0,
        max=200,
        metavar="<K>",
        help="List the K runs that would narrow the first target's interval most per FLOP spent.",
    ),
]


MaxHours = Annotated[
    float | None,
    typer.Option(
        "--max-hours",
        metavar="<hours>",
        help="Suggest only runs that take at most this many device-hours together, as the finished runs foretell.",
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
    ParamsName | None, typer.Option("--params", help="Parameters that N counts, in place of the sweep file's choice.")
]
Flops = Annotated[
    FlopsName, typer.Option("--flops", help="FLOPs that C counts: all matrix products, all but attention, or 6ND.")
]
Laws = Annotated[
    list[str] | None,
    typer.Option(
        "--law",
        metavar="<name>",
        help="Published law to show beside the fit, such as chinchilla-2, or all; may be repeated.",
    ),
]
Peak = Annotated[
    str | None,
    typer.Option("--peak", metavar="<FLOP/s>", help="Peak FLOP/s of one device; adds time and cost to every target."),
]
Utilisation = Annotated[float, typer.Option("--utilisation", help="Share of the peak that training reaches.")]
Price = Annotated[float, typer.Option("--price", help="Price of one device for one hour, in any currency.")]
NDevices = Annotated[int, typer.Option("--devices", min=1, help="Number of devices that train in parallel.")]
CorpusTokens = Annotated[
    str | None,
    typer.Option(
        "--corpus-tokens",
        metavar="<tokens>",
        help="Unique tokens available; shows what repeating them would cost at each target.",
    ),
]
InferenceTokens = Annotated[
    str | None,
    typer.Option(
        "--inference-tokens",
        metavar="<tokens>",
        help="Tokens served in deployment; shows which smaller model is cheaper over its lifetime.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Worker processes; default: one per GPU, or per CPU core without a GPU."),
]


class DeviceName(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Device = Annotated[
    DeviceName,
    typer.Option("--device", help="Devices to train on; auto: whichever is estimated to finish sooner."),
]

DEFAULT_DB = Path("isoflop.db")
DEFAULT_ARTIFACTS = Path("isoflop-artifacts")
DEFAULT_LEVEL = 0.90
DEFAULT_UTILISATION = 0.4
