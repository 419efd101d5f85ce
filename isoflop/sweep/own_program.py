"""A sweep whose runs a program of the user's own trains: its files' hash, its sizes, and where it starts."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isoflop.engine.local.devices import cpu_cores
from isoflop.errors import IsoflopError, why_inaccessible
from isoflop.files import write_atomically
from isoflop.rundir import ProgramPlace
from isoflop.rundir.layout import sizes_dir
from isoflop.spec import CommandSpec, LadderEntry, SweepSpec, load_spec
from isoflop.spec.command_spec import filled, ladder_problem, placeholders_in
from isoflop.spec.problems import first_problem
from isoflop.sweep.own_factory import with_factory_hash
from isoflop.train.program import find_program

HASH_LENGTH = 16
# A program that counts a model may have to import torch; one that trains it was given as a probe by mistake.
PROBE_SECONDS = 300.0
# A second word that ends so is the script of an interpreter, which would fail in every run without it.
_SCRIPTS = (".py", ".sh", ".pl", ".rb", ".lua", ".jl", ".R", ".js")
# The end of what a probe printed, for a sentence.
_SHOWN = 200


def load_sweep(file: Path, artifacts: Path, *, write: bool = True) -> SweepSpec:
    """The sweep in `file`; of a program of the user's own with the hash of its files, and every size counted.

    Of a factory, with the hash of its file; its sizes wait for the vocabulary (`counted_sweep`).

    What a probe printed is remembered among the artifacts, unless nothing is to be written.

    Raises:
        IsoflopError: as of `load_spec`; a file of the program, or the factory's module, is missing; a probe fails.
    """
    spec = with_factory_hash(load_spec(file), file)
    if spec.command is None:
        return spec
    folder = program_folder(spec.command, file)
    command = spec.command.model_copy(update={"code_hash": _code_hash(spec.command, folder)})
    spec = spec.model_copy(update={"command": command})
    if command.probe is None:
        return spec
    remembered = sizes_dir(artifacts)

    def counted(number: int, entry: LadderEntry) -> LadderEntry:
        return entry if entry.model else _counted(entry, number, command, folder, remembered, write=write)

    with ThreadPoolExecutor(cpu_cores()) as several:
        ladder = tuple(several.map(counted, range(1, len(spec.ladder) + 1), spec.ladder))
    if (problem := ladder_problem(ladder, probed=False)) is not None:
        raise IsoflopError(f"As command.probe counts them, the ladder cannot be used: {problem}.", hint=_SEE_PROBE)
    if spec.fit.params != "total" and any(entry.model and not entry.model.is_grouped for entry in ladder):
        raise IsoflopError(
            f'fit.params = "{spec.fit.params}" needs parameters by group, and command.probe does not print them.',
            hint="Print n_params_embedding, n_params_attention, n_params_mlp, n_params_norm and n_params_head; or "
            "leave out fit.params.",
        )
    return spec.model_copy(update={"ladder": ladder})


_SEE_PROBE = "docs/own-trainer.md says what a probe prints; run it by hand to see."


def program_folder(command: CommandSpec, file: Path) -> Path:
    """Where the program starts."""
    return (file.resolve().parent / (command.cwd or ".")).resolve()


def program_place(spec: SweepSpec, file: Path) -> ProgramPlace | None:
    """Where the sweep's program starts and how long it may work, or where its factory lies; None without either.

    Raises:
        IsoflopError: there is no such folder, or no such program.
    """
    if spec.model.factory is not None:
        return ProgramPlace(file.resolve().parent, seconds=None, grace_seconds=0.0)
    if spec.command is None:
        return None
    folder = program_folder(spec.command, file)
    if not folder.is_dir():
        raise IsoflopError(
            f"command.cwd is {str(folder)!r}, which is not a folder.", hint="Give a folder, relative to the sweep file."
        )
    if not any(placeholders_in(spec.command.argv[:1])):
        find_program(spec.command.argv[0], folder, spec.command.env.get("PATH", os.environ.get("PATH")))
    script = "".join(spec.command.argv[1:2])
    if script.endswith(_SCRIPTS) and not any(placeholders_in([script])) and not (folder / script).is_file():
        raise IsoflopError(
            f"command.argv names {script!r}, which is not in {str(folder)!r}.",
            hint="Give the script's path relative to command.cwd, by default the sweep file's folder, or a whole one.",
        )
    return ProgramPlace(folder, spec.command.seconds, spec.command.grace_seconds)


def _code_hash(command: CommandSpec, folder: Path) -> str:
    """Hash of the names and contents of the program's files; "" where it has none that are known.

    Raises:
        IsoflopError: one that `code` names cannot be read.
    """
    return _hash_of(_code(command, folder), folder)


def _hash_of(names: Iterable[str], folder: Path) -> str:
    digest = hashlib.sha256()
    files = list(names)
    for name in files:
        try:
            content = (folder / name).read_bytes()
        except (OSError, ValueError) as error:
            raise IsoflopError(
                f"Cannot read {name!r} of command.code: {why_inaccessible(error, folder / name)}.",
                hint="command.code lists files relative to command.cwd; a run is another one when they change.",
            ) from None
        digest.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode())
    return digest.hexdigest()[:HASH_LENGTH] if files else ""


def _code(command: CommandSpec, folder: Path) -> Iterator[str]:
    if command.code is not None:
        yield from sorted(set(command.code))
        return
    yield from _files_among(command.argv, folder)


def _files_among(words: Iterable[str], folder: Path) -> list[str]:
    """Those of the words that name files by paths relative to `folder`."""
    plain = {word for word in words if not any(placeholders_in([word])) and not Path(word).is_absolute()}
    return sorted(word for word in plain if os.path.isfile(folder / word))  # noqa: PTH113 - of a word too long, False


def _counted(
    entry: LadderEntry, number: int, command: CommandSpec, folder: Path, remembered: Path, *, write: bool
) -> LadderEntry:
    """The entry with what the probe says of it, which is asked once for each size and version of the program."""
    assert command.probe is not None
    argv = [filled(word, entry.arguments) for word in command.probe]
    own = _hash_of(_files_among(command.probe, folder), folder)
    asked = json.dumps([argv, command.code_hash, own, str(folder), sorted(command.env.items())])
    path = remembered / f"{hashlib.sha256(asked.encode()).hexdigest()[:HASH_LENGTH]}.json"
    said = _remembered(path)
    if said is not None:
        return _entry(entry, number, said)
    said = _ask(argv, command, folder, number)
    counted = _entry(entry, number, said)
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(said).encode())
    return counted


def _entry(entry: LadderEntry, number: int, said: Mapping[str, Any]) -> LadderEntry:
    """The entry with what the probe said of it.

    Raises:
        IsoflopError: that cannot be.
    """
    try:
        counted = LadderEntry.model_validate({**entry.arguments, **said})
    except ValidationError as error:
        told = first_problem(error, LadderEntry, source="it").message.removeprefix("'it': the sweep is not possible: ")
        raise IsoflopError(
            f"What command.probe printed for entry {number} of the ladder cannot be: {told}", hint=_SEE_PROBE
        ) from None
    if counted.model is None or set(counted.arguments) != set(entry.arguments):
        odd = sorted(set(counted.arguments) - set(entry.arguments))
        what = f"printed {odd[0]!r}, which says nothing here" if odd else "did not print n_params and flops_per_token"
        raise IsoflopError(f"command.probe for entry {number} of the ladder {what}.", hint=_SEE_PROBE)
    return counted


def _remembered(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _ask(argv: Sequence[str], command: CommandSpec, folder: Path, number: int) -> dict[str, Any]:
    """What the probe prints: the last line that is a JSON object."""
    plain = {name: value for name, value in command.env.items() if not any(placeholders_in([value]))}
    environment = {**os.environ, **plain}
    program = find_program(argv[0], folder, environment.get("PATH"))
    try:
        done = subprocess.run(  # noqa: S603 - it is what the user asks for, and no shell reads it
            [program, *argv[1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"did not end within {PROBE_SECONDS:.0f} s"
    except OSError as error:
        problem = f"cannot be started: {why_inaccessible(error, folder)}"
    else:
        if done.returncode == 0 and (said := _last_object(done.stdout.decode(errors="replace"))) is not None:
            return said
        end = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        ended = f"ended with exit code {done.returncode}" if done.returncode else "printed no JSON object"
        problem = f"{ended}{f' ({end[0][:_SHOWN]})' if end else ''}"
    raise IsoflopError(f"command.probe for entry {number} of the ladder {problem}.", hint=_SEE_PROBE)


def _last_object(printed: str) -> dict[str, Any] | None:
    for text in (printed, *reversed(printed.splitlines())):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict):
            return said
    return None
