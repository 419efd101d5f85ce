"""What a control group allows: folders laid out as the kernel shows them."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from isoflop.engine.local import control_group
from isoflop.engine.local.devices import cpu_cores, host_memory, slot_options

MakeGroups = Callable[..., None]


@pytest.fixture
def control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeGroups:
    """`control_groups("batch/job", memory_at_1="1000")` shows this process in that group, as the kernel would.

    A setting's number says of which group it is: 0 is the root, 1 lies in it, and so on.
    """
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    monkeypatch.setattr(control_group, "ROOT", root)
    monkeypatch.setattr(control_group, "MEMBERSHIP", membership)

    def make(path: str, **settings: str) -> None:
        membership.write_text(f"4:memory:/elsewhere\n0::/{path}\n")
        (root / path).mkdir(parents=True)
        for key, value in settings.items():
            name, _, depth = key.rpartition("_at_")
            folder = root.joinpath(*Path(path).parts[: int(depth)])
            (folder / f"{name}.max").write_text(f"{value}\n")

    return make


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"memory_at_2": "4000000000"}, 4e9, id="own"),
        pytest.param({"memory_at_2": "max", "memory_at_1": "2000000000"}, 2e9, id="of the group around"),
        pytest.param({"memory_at_2": "4000000000", "memory_at_0": "3000000000"}, 3e9, id="the smallest binds"),
        pytest.param({"memory_at_2": "max"}, None, id="no limit"),
        pytest.param({}, None, id="no controller"),
    ],
)
def test_a_control_groups_memory_limit_is_known(
    control_groups: MakeGroups, settings: dict[str, str], expected: float | None
) -> None:
    control_groups("batch/job.1", **settings)
    assert control_group.memory_limit() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"cpu_at_2": "150000 100000"}, 1.5, id="own"),
        pytest.param({"cpu_at_2": "max 100000", "cpu_at_0": "400000 100000"}, 4.0, id="of the root"),
        pytest.param({"cpu_at_2": "max 100000"}, None, id="no limit"),
    ],
)
def test_a_control_groups_quota_of_cores_is_known(
    control_groups: MakeGroups, settings: dict[str, str], expected: float | None
) -> None:
    control_groups("batch/job.1", **settings)
    assert control_group.cpu_limit() == expected


def test_a_container_shows_its_own_group_as_the_root(control_groups: MakeGroups) -> None:
    control_groups("", memory_at_0="123456789")
    assert control_group.memory_limit() == 123456789
    control_group.MEMBERSHIP.write_text("0::/../outside/the/container\n")
    assert control_group.memory_limit() == 123456789


@pytest.mark.usefixtures("control_groups")
def test_without_control_groups_there_is_no_limit() -> None:
    assert control_group.memory_limit() is None and control_group.cpu_limit() is None
    assert host_memory() == psutil.virtual_memory().total


def test_cores_share_what_the_control_group_leaves_of_the_memory(control_groups: MakeGroups) -> None:
    control_groups("job", memory_at_1="100000000", cpu_at_1="100000 100000")
    assert host_memory() == 100_000_000
    assert sum(slot.share_bytes for slot in slot_options("cpu", 4)[0]) == pytest.approx(0.8 * 100_000_000)
    assert cpu_cores() == len(slot_options("cpu", None)[0]) == 1


@pytest.mark.parametrize("quota", ["50000 100000", "199999 100000"], ids=["half a core", "nearly two"])
def test_a_part_of_a_core_is_no_worker_and_there_is_one_at_least(control_groups: MakeGroups, quota: str) -> None:
    control_groups("job", cpu_at_1=quota)
    assert len(slot_options("cpu", None)[0]) == cpu_cores() == 1
