"""Writes an export: a folder that appears whole, and that only an export of the same run ever replaces."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.export.model_config import OWN_KEY
from isoflop.files import is_folder, temporary_name, write_atomically

CONFIG = "config.json"
GGUF = "model.gguf"


def refuse_another(out: Path, run_id: str) -> None:
    """Nothing; `out` may become, or already is, an export of that run.

    Raises:
        IsoflopError: it is a file, or a folder that holds anything but an earlier export of the same run.
    """
    elsewhere = "Name another folder with --out."
    try:
        obstacle = next((path for path in (out, *out.parents) if path.is_symlink() or path.exists()), None)
        if obstacle is not None and not is_folder(obstacle):
            raise IsoflopError(f"{str(obstacle)!r} is not a folder; --out must name one.", hint=elsewhere)
        if not out.exists() or not any(out.iterdir()):
            return
        found = _exported_run(out)
    except OSError as error:
        raise IsoflopError(f"Cannot look into {str(out)!r}: {why_inaccessible(error, out)}.", hint=elsewhere) from None
    if found is None:
        raise IsoflopError(f"{str(out)!r} is not empty, and not an export of isoflop.", hint=elsewhere)
    if found != run_id:
        raise IsoflopError(f"{str(out)!r} holds the export of another run, {found}.", hint=elsewhere)


def write_folder(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """The paths of `files`, written into the folder `out`; config.json comes last and makes it an export.

    A new folder is written beside its place and renamed; of one that is there, each file is replaced whole,
    and a model.gguf that is not among them is removed.

    Raises:
        IsoflopError: it cannot be written; nothing half-written is left.
    """
    names = sorted(files, key=lambda name: name == CONFIG)
    try:
        if out.exists():
            if GGUF not in files:  # of the earlier export, perhaps of another type of weights
                (out / GGUF).unlink(missing_ok=True)
            for name in names:
                write_atomically(out / name, files[name])
            return [out / name for name in names]
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = temporary_name(out.absolute())
        try:
            unfinished.mkdir()
            for name in names:
                write_atomically(unfinished / name, files[name])
            unfinished.rename(out)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise IsoflopError(
            f"Cannot write the export to {str(out)!r}: {why_inaccessible(error, out)}.",
            hint="Check free space and permissions, or name another folder with --out.",
        ) from error
    return [out / name for name in names]


def _exported_run(out: Path) -> str | None:
    """The run that the folder is an export of; None where it is none."""
    try:
        own = json.loads((out / CONFIG).read_bytes()).get(OWN_KEY)
        run_id = own.get("run_id") if isinstance(own, dict) else None
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return None
    return run_id if isinstance(run_id, str) else None
