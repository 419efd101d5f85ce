"""What the tables of a sweep file have in common: frozen, no unknown keys, numbers that are numbers."""

from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Far beyond what anyone trains, and far from where floating point ends.
Budget = Annotated[float, Field(ge=1, le=1e40, allow_inf_nan=False)]
Size = Annotated[float, Field(ge=1, le=1e20, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of the sweep file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Neither text nor true or false, which pydantic would read as numbers."""
        field = cls.model_fields.get(info.field_name or "")
        kinds = _kinds(field.annotation) if field is not None else set()
        entries = value if isinstance(value, list | tuple) else (value,)
        if kinds and kinds <= {int, float} and any(isinstance(entry, bool | str) for entry in entries):
            raise ValueError(f"it takes {'whole numbers' if kinds == {int} else 'numbers'} only, without quotes")
        return value


def _kinds(annotation: object) -> set[object]:
    """What a value of that type is made of: {float} for `tuple[float, ...] | None`."""
    parts = [part for part in get_args(annotation) if not isinstance(part, FieldInfo)]
    kinds = set[object]().union(*map(_kinds, parts)) if parts else {annotation}
    return kinds - {type(None), Ellipsis}


def at_default(section: Section, key: str) -> bool:
    """Whether the table says what it would say without the key."""
    return bool(getattr(section, key) == type(section).model_fields[key].default)
