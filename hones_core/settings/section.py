"""What every section of the configuration is made of."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from hones_core.family_catalogue import FAMILIES
from hones_core.ranker_catalogue import CATALOGUE
from hones_core.task_catalogue import TASK_NAMES

# Strict: `yes` is no 1, and "3" no 3.
Positive = Annotated[int, Field(gt=0, strict=True)]
NotNegative = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # what every generator takes
FilePath = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Share = Annotated[float, Field(gt=0, le=1)]
ColourPart = Annotated[int, Field(ge=0, le=255, strict=True)]
if TYPE_CHECKING:  # a type checker knows literals only, not what a catalogue holds
    TaskName: TypeAlias = str
    FamilyName: TypeAlias = str
    RankerName: TypeAlias = str
else:
    TaskName = Literal[*TASK_NAMES]
    FamilyName = Literal[*FAMILIES]
    RankerName = Literal[*CATALOGUE]
Samples = dict[TaskName, Positive | None]  # discovery instances of a task; null or left out: all
SplitName = Literal["development", "test"]


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def unique(values: tuple) -> tuple:
    """The values of a list; ValueError if one of them is listed twice."""
    if len(set(values)) < len(values):
        raise ValueError("a value is listed twice")
    return values


def plain(section: BaseModel | dict[str, Any]) -> dict[str, Any]:
    """A section as builtins in canonical key order, as Snakemake's `params` need it."""
    if isinstance(section, BaseModel):
        section = section.model_dump(mode="json")
    return json.loads(json.dumps(section, sort_keys=True))
