"""What every section of a study has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
SourceShare = Annotated[float, Field(ge=0.5, le=1)]


class Section(BaseModel):
    """Base of every section: immutable, and a misspelt key is an error instead of a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
