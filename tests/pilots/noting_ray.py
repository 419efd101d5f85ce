"""The stand-in for Ray, and what was asked of it and its actors."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.pilots.ray_stand_in import RayStandIn


class NotingRay(RayStandIn):
    """Notes what is asked of it and its actors.

    Attributes:
        called: name of the actor, method and arguments.
        made: name and options of each actor that was created, and its arguments.
        refusals: what the creation of an actor of that name raises.
        joins: what joining the cluster raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[Any, ...]] = []
        self.made: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.by_value: list[str] = []
        self.refusals: dict[str, Exception] = {}
        self.joins: Exception | None = None
        self.joined: list[dict[str, Any]] = []
        self.resources = {"CPU": 8.0}
        self.named: list[dict[str, str]] = []
        self.__version__ = "2.60.0"
        self.util.__dict__["list_named_actors"] = lambda all_namespaces: self.named
        self.cloudpickle.__dict__["register_pickle_by_value"] = lambda module: self.by_value.append(module.__name__)

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def init(self, **options: Any) -> None:
        self.joined.append(options)
        if self.joins is not None:
            raise self.joins

    def remote(self, actor_class: type) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=self._maker(options)))

    def _maker(self, options: dict[str, Any]) -> Callable[..., "NotingActor"]:
        def make(**arguments: Any) -> NotingActor:
            name = options["name"]
            if name in self.refusals:
                raise self.refusals[name]
            self.made.append((options, arguments))
            self.known.add(name)
            return NotingActor(self, name)

        return make

    def get_actor(self, name: str, namespace: str) -> Any:
        super().get_actor(name, namespace)
        return NotingActor(self, name)

    def methods_of(self, name: str) -> list[str]:
        return [method for called, method, *_ in self.called if called == name]


class NotingActor:
    """A handle, whose calls are noted; the answer to whatever is asked is what is said of the actor."""

    def __init__(self, ray: NotingRay, name: str) -> None:
        self.ray, self.name = ray, name

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: object) -> str:
            self.ray.called.append((self.name, method, *arguments))
            return self.name

        return SimpleNamespace(remote=remote)
