"""Writes an export: a folder that appears whole, and whose files only an export of the same run ever replaces."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.export.model_config import OWN_KEY
from isoflop.files import TEMPORARY_SUFFIX, is_folder, temporary_name, write_atomically

CONFIG = "config.json"
GGUF = "model.gguf"
# Inside a folder that is there, what is not written yet lies under a temporary name of this.
_UNFINISHED = "export"


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
        unfinished = list(_unfinished(out, _UNFINISHED)) if out.exists() else []
        if not out.exists() or set(out.iterdir()) <= set(unfinished):
            return
        found = next(filter(None, map(_exported_run, (out, *unfinished))), None)
    except OSError as error:
        raise IsoflopError(f"Cannot look into {str(out)!r}: {why_inaccessible(error, out)}.", hint=elsewhere) from None
    if found is None:
        raise IsoflopError(f"{str(out)!r} is not empty, and not an export of isoflop.", hint=elsewhere)
    if found != run_id:
        raise IsoflopError(f"{str(out)!r} holds the export of another run, {found}.", hint=elsewhere)


def write_folder(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """The paths of `files`, written into the folder `out`; config.json comes last and makes it an export.

    All are written under a temporary name first: beside a new folder, which that becomes, or inside one that is there,
    where they replace what has their names, and a model.gguf that is not among them is removed.

    Raises:
        IsoflopError: it cannot be written; what was there is as it was.
    """
    names = sorted(files, key=lambda name: name == CONFIG)
    is_new = not out.exists()
    folder, stem = (out.absolute().parent, out.name) if is_new else (out, _UNFINISHED)
    unfinished = temporary_name(folder / stem)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, stem)
        try:
            unfinished.mkdir()
            for name in names:
                write_atomically(unfinished / name, files[name])
            if is_new:
                unfinished.rename(out)
            else:
                _move_in(unfinished, out, names)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise IsoflopError(
            f"Cannot write the export to {str(out)!r}: {why_inaccessible(error, out)}.",
            hint="Check free space and permissions, or name another folder with --out.",
        ) from error
    return [out / name for name in names]


def _move_in(unfinished: Path, out: Path, names: list[str]) -> None:
    if GGUF not in names:  # of the earlier export, perhaps of another type of weights
        (out / GGUF).unlink(missing_ok=True)
    for name in names:
        (unfinished / name).replace(out / name)


def _unfinished(folder: Path, stem: str) -> Iterator[Path]:
    """The folders of temporary names of `stem` in the folder."""
    pattern = re.compile(rf"\.{re.escape(stem)}\.\d+{re.escape(TEMPORARY_SUFFIX)}")
    return (path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_dir())


def _remove_leftovers(folder: Path, stem: str) -> None:
    """Remove what killed commands did not finish; of a folder that may not be listed, nothing."""
    try:
        for path in list(_unfinished(folder, stem)):
            if not psutil.pid_exists(int(path.name.split(".")[-2])):
                shutil.rmtree(path, ignore_errors=True)
    except PermissionError:
        pass


def _exported_run(out: Path) -> str | None:
    """The run that the folder is an export of; None where it is none."""
    try:
        own = json.loads((out / CONFIG).read_bytes()).get(OWN_KEY)
        run_id = own.get("run_id") if isinstance(own, dict) else None
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return None
    return run_id if isinstance(run_id, str) else None
