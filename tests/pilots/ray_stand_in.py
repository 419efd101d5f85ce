"""What of the package ray the driver uses, without a cluster: actors answer what a test says."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

import isoflop.engine.ray


class RayError(Exception):
    """As in ray/exceptions.py; so are those below."""


class RayTaskError(RayError, OSError):
    """An exception of a method; Ray makes it an instance of that exception's class, too."""


# Names and bases as of Ray 2.60.
_ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "ActorDiedError": (RayError,),
    "ActorUnschedulableError": (RayError,),
    "ActorPlacementGroupRemoved": (RayError,),
    "RuntimeEnvSetupError": (RayError,),
    "ActorUnavailableError": (RayError,),
    "GetTimeoutError": (RayError, TimeoutError),
    "ObjectLostError": (RayError,),
    "AuthenticationError": (RayError,),
}


class RayStandIn(ModuleType):
    """The module. `said`: of each actor what its methods return or raise; one that is not named has not answered yet.

    Attributes:
        known: the actors that Ray has.
        n_looks: how often the nodes were asked for.
    """

    def __init__(self) -> None:
        super().__init__("ray")
        self.said: dict[str, Any] = {}
        self.known: set[str] = set()
        self.n_looks = 0
        self.exceptions = ModuleType("ray.exceptions")
        self.util, self.cloudpickle = ModuleType("ray.util"), ModuleType("ray.cloudpickle")
        self.exceptions.__dict__.update(
            {name: type(name, bases, {}) for name, bases in _ERRORS.items()},
            RayError=RayError,
            RayTaskError=RayTaskError,
        )

    def error(self, name: str, text: str = "") -> Exception:
        made = getattr(self.exceptions, name)(text)
        assert isinstance(made, Exception)
        return made

    def get_actor(self, name: str, namespace: str) -> "ActorStandIn":
        if name not in self.known:
            raise ValueError(name)
        return ActorStandIn(name)

    def wait(self, refs: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        return [ref for ref in refs if ref in self.said], []

    def get(self, ref: str, timeout: float) -> Any:
        if isinstance(self.said[ref], Exception):
            raise self.said[ref]
        return self.said[ref]

    def nodes(self) -> list[dict[str, Any]]:
        self.n_looks += 1
        return [{"Alive": True, "Resources": {"CPU": 4.0}}]

    def kill(self, actor: "ActorStandIn") -> None:
        self.known.discard(actor.name)


class ActorStandIn:
    """A handle: `.method.remote(...)` is the actor's name, which stands for the answer to whatever is asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, method: str) -> "ActorStandIn":
        return self

    def remote(self, *arguments: object) -> str:
        return self.name


@contextmanager
def driver_module(ray: RayStandIn) -> Iterator[Any]:
    """isoflop's module that imports ray, with the stand-in for it."""
    name = "isoflop.engine.ray.ray_driver"
    with pytest.MonkeyPatch.context() as patch:
        for module in (ray, ray.exceptions, ray.util, ray.cloudpickle):
            patch.setitem(sys.modules, module.__name__, module)
        patch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        patch.setitem(sys.modules, name, module)
        yield module
        sys.modules.pop(name, None)
        del isoflop.engine.ray.ray_driver  # type: ignore[attr-defined]
