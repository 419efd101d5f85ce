"""What lies in the folder of pilots: jobs of earlier coordinators, and the room that they had."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from isoflop.engine.pilots.cluster import Cluster
from isoflop.engine.pilots.mailbox import HereAnswer, Mailbox, PilotFile
from isoflop.engine.pilots.pilot_job import PilotJob
from isoflop.engine.protocol import Slot
from isoflop.rundir.layout import submission_path


def lanes_seen(root: Path, engine: str) -> tuple[Slot, ...]:
    """The room that the newest pilot of an engine had; none where no pilot of it has run."""
    for folder in sorted(root.glob("*-*-*"), reverse=True):
        for path in sorted(path for path in folder.iterdir() if path.name.isdecimal()):
            content = Mailbox(path).read()
            answers, _ = Mailbox(path).answers(0) if content is not None and content.engine == engine else ([], 0)
            for answer in answers:
                if isinstance(answer, HereAnswer):
                    return answer.lanes
    return ()


def jobs_in(root: Path, content: PilotFile, cluster: Cluster) -> Iterator[PilotJob]:
    """The pilots of the sweep that nobody has closed."""
    for folder in sorted(root.glob("*-*-*")):
        boxes = [Mailbox(path) for path in folder.iterdir() if path.name.isdecimal()]
        open_boxes = [box for box in boxes if not box.is_closed]
        ours = [box for box in open_boxes if (said := box.read()) is not None and _same(said, content)]
        if not ours:
            continue
        jobs = _jobs_of(folder)
        if jobs:
            cluster.know(list(jobs.values()), folder)
        else:  # its coordinator died while it submitted
            jobs = cluster.find(folder)
        for box in sorted(ours, key=lambda one: int(one.path.name)):
            number = int(box.path.name)
            if number in jobs:
                yield PilotJob(jobs[number], box)
            else:
                box.close("its job was never submitted")


def _same(one: PilotFile, other: PilotFile) -> bool:
    keys = ("sweep", "database", "engine", "device", "devices_per_run", "lanes_per_device")
    return all(getattr(one, key) == getattr(other, key) for key in keys)


def _jobs_of(folder: Path) -> Mapping[int, str]:
    try:
        jobs = json.loads(submission_path(folder).read_bytes())
    except (OSError, ValueError):
        return {}
    whole = isinstance(jobs, list) and all(isinstance(job, str) for job in jobs)
    return dict(enumerate(jobs)) if whole else {}
