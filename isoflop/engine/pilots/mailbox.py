"""The mailbox of a pilot: a folder on shared storage in which its coordinator writes orders and it writes answers.

Each file has one writer, and is opened anew for every look: NFS promises a reader who opens what the writer had closed
(close-to-open consistency), and nothing sooner of a folder's list of names.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from isoflop.engine.protocol import Order, Preload, Slot
from isoflop.files import append_line, lines_since, write_atomically
from isoflop.rundir import Assignment
from isoflop.rundir.layout import PilotPaths

# Of a log, what is read for its last line, and what is shown of that.
_LAST_BYTES, _LAST_LETTERS = 4096, 300


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StartOrder(_Message):
    """Start the worker of this number on a lane."""

    order: Literal["start"] = "start"
    worker: int
    lane: int = Field(ge=0)
    preload: Preload
    assignment: Assignment


class TellOrder(_Message):
    """Pass an order on to a worker."""

    order: Literal["tell"] = "tell"
    worker: int
    what: Order


class EndOrder(_Message):
    """Have every worker checkpoint, and end."""

    order: Literal["end"] = "end"
    why: str


class HereAnswer(_Message):
    """The pilot runs. `seconds`: since the epoch, on its clock.

    Attributes:
        lanes: room for workers there, as its machine has it.
    """

    answer: Literal["here"] = "here"
    host: str
    pid: int
    process_start: float
    seconds: float
    isoflop_version: str
    python_version: str
    torch_version: str
    lanes: tuple[Slot, ...]


class ObstacleAnswer(_Message):
    """Something there stands in the way of every run."""

    answer: Literal["obstacle"] = "obstacle"
    message: str
    hint: str


class EndedAnswer(_Message):
    """A worker has ended.

    Attributes:
        results: runs of its job that have a result by now, by id.
        evicted: why it was stopped by the pilot and not by the coordinator; None where it was not.
        begun: False for a worker that was not started.
    """

    answer: Literal["ended"] = "ended"
    worker: int
    exit_code: int | None = None
    out_of_memory: bool = False
    lost: str = ""
    results: tuple[str, ...] = ()
    evicted: str | None = None
    begun: bool = True


class LeavingAnswer(_Message):
    """The pilot takes no more orders, and why."""

    answer: Literal["leaving"] = "leaving"
    why: str


AnyOrder = Annotated[StartOrder | TellOrder | EndOrder, Field(discriminator="order")]
AnyAnswer = Annotated[HereAnswer | ObstacleAnswer | EndedAnswer | LeavingAnswer, Field(discriminator="answer")]
_ORDERS: TypeAdapter[AnyOrder] = TypeAdapter(AnyOrder)
_ANSWERS: TypeAdapter[AnyAnswer] = TypeAdapter(AnyAnswer)
_T = TypeVar("_T")


class PilotFile(BaseModel):
    """Content of pilot.json: what a pilot is for.

    Attributes:
        sweep, database: whose it is.
        device: kind of device its workers compute on; auto: the GPUs it was given, or else cores.
        lanes_per_device: runs at once on each GPU.
        most_lanes: runs at once in all; None for as many as there is room for.
        cores, memory_bytes: what it was given of its node's, where only its cluster knows; None where the node says.
        device_share: of its GPU that it was given, where others have the rest.
        idle_seconds: without work for so long it ends.
        grace_seconds: what workers have to checkpoint when the allocation ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    sweep: str
    database: str
    engine: str
    device: Literal["auto", "cpu", "cuda"]
    devices_per_run: int = Field(ge=1)
    lanes_per_device: int = Field(ge=1)
    most_lanes: int | None = Field(None, ge=1)
    cores: int | None = Field(None, ge=1)
    memory_bytes: float | None = Field(None, gt=0)
    device_share: float = Field(1.0, gt=0, le=1)
    idle_seconds: float = Field(gt=0)
    grace_seconds: float = Field(gt=0)
    submitted_at: float = Field(description="seconds since the epoch, on the coordinator's clock")


@dataclass(frozen=True)
class Mailbox(PilotPaths):
    """Paths and files of one pilot's folder."""

    def create(self, content: PilotFile) -> None:
        """Make the folder, and say what the pilot is for."""
        self.path.mkdir(parents=True)
        for growing in (self.orders_path, self.answers_path):  # there from the start: NFS remembers what was not
            growing.touch()
        write_atomically(self.pilot_path, content.model_dump_json(indent=1).encode())

    def last_words(self) -> str:
        """The last line of the job's log; "" where there is none, or nothing in it."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - _LAST_BYTES))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:_LAST_LETTERS] for line in reversed(lines) if line.strip()), "")

    def read(self) -> PilotFile | None:
        """What the pilot is for; None where the folder is none of this version."""
        try:
            return PilotFile.model_validate_json(self.pilot_path.read_bytes())
        except (OSError, ValidationError):
            return None

    def order(self, order: AnyOrder) -> None:
        """Add an order."""
        append_line(self.orders_path, _ORDERS.dump_json(order))

    def orders(self, offset: int) -> tuple[list[AnyOrder], int]:
        """Orders since byte `offset`, and the offset to go on from."""
        lines, offset = lines_since(self.orders_path, offset)
        return _understood(lines, _ORDERS), offset

    def answer(self, answer: AnyAnswer) -> None:
        """Add an answer."""
        append_line(self.answers_path, _ANSWERS.dump_json(answer))

    def answers(self, offset: int) -> tuple[list[AnyAnswer], int]:
        """Answers since byte `offset`, and the offset to go on from."""
        lines, offset = lines_since(self.answers_path, offset)
        return _understood(lines, _ANSWERS), offset

    def close(self, why: str) -> None:
        """Say that the pilot is over."""
        write_atomically(self.gone_path, why.encode(), durable=False)

    @property
    def is_closed(self) -> bool:
        """Whether the pilot is over."""
        return self.gone_path.exists()


def _understood(lines: list[bytes], messages: TypeAdapter[_T]) -> list[_T]:
    """The messages of these lines; one that says nothing to us is passed over."""
    found: list[_T] = []
    for line in lines:
        try:
            found.append(messages.validate_json(line))
        except ValidationError:
            continue
    return found
