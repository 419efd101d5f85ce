"""Execution: how a run is computed, to the bit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DeviceKind = Literal["cpu", "cuda"]


class Execution(BaseModel):
    """Everything that can change a bit of a result, fixed before the first step and reused by later attempts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_kind: DeviceKind
    dtype: Literal["float32", "bfloat16"] = Field(description="of matrix products; weights stay float32")
    n_threads: int = Field(ge=1, description="CPU threads of the trainer")
    attention: Literal["default", "math"] = Field("default", description="kernel of the attention product")
    compile: bool = Field(False, description="torch.compile the model")
    micro_batch_sequences: int = Field(ge=1, description="sequences per forward pass; a batch may be several")
    eval_batch_tokens: int = Field(8192, ge=1, description="tokens per forward pass of the held-out loss")

    def smaller(self) -> "Execution | None":
        """The same with half the tokens per forward pass; None where it is one sequence already."""
        if self.micro_batch_sequences == 1:
            return None
        halves = {name: max(1, getattr(self, name) // 2) for name in ("micro_batch_sequences", "eval_batch_tokens")}
        return self.model_copy(update=halves)
