"""Where the code of a factory lies, found without importing it. No torch: plans ask, too."""

import hashlib
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from isoflop.errors import IsoflopError, why_inaccessible

HASH_LENGTH = 16
SEE_PAGE = "docs/own-trainer.md says what a factory is: model.factory = 'models:build' for build() in models.py."


@dataclass(frozen=True)
class FactorySource:
    """The source file of a factory's module.

    Attributes:
        module: its dotted name.
        function: the factory's name in it.
        path: the file.
        code: its content.
    """

    module: str
    function: str
    path: Path
    code: bytes

    @cached_property
    def code_hash(self) -> str:
        """Hash of the content; what the module imports is not in it."""
        return hashlib.sha256(self.code).hexdigest()[:HASH_LENGTH]


def factory_source(name: str, folder: Path) -> FactorySource:
    """The source of the factory `name` ("package.module:function"), looked for in `folder`, then among the installed.

    Raises:
        IsoflopError: there is no such module, or it has no source file.
    """
    module, _, function = name.partition(":")
    found = _found(module, folder)
    if found is None:
        raise IsoflopError(
            f"model.factory = {name!r}: there is no module {module!r} in {str(folder)!r} or among what is installed.",
            hint=SEE_PAGE,
        )
    if found.origin is None or not found.origin.endswith(".py"):
        raise IsoflopError(f"model.factory = {name!r}: the module {module!r} has no source file.", hint=SEE_PAGE)
    path = Path(found.origin)
    try:
        return FactorySource(module, function, path, path.read_bytes())
    except OSError as error:
        why = why_inaccessible(error, path)
        raise IsoflopError(f"model.factory = {name!r}: cannot read {str(path)!r}: {why}.", hint=SEE_PAGE) from None


def _found(module: str, folder: Path) -> ModuleSpec | None:
    """Where the import system would find the module; packages on the way are looked through, not imported."""
    importlib.invalidate_caches()
    first, *inner = module.split(".")
    found = PathFinder.find_spec(first, [str(folder), *sys.path]) or _by_other_finders(first)
    for depth, _ in enumerate(inner, start=1):
        if found is None or found.submodule_search_locations is None:
            return None
        found = PathFinder.find_spec(".".join([first, *inner[:depth]]), list(found.submodule_search_locations))
    return found


def _by_other_finders(first: str) -> ModuleSpec | None:
    """As projects are found that are installed to be edited."""
    try:
        return importlib.util.find_spec(first)
    except ValueError:  # loaded by something that left no spec
        return None
