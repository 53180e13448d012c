"""What all groups of settings share: how they are read, and kinds of values."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

# An empty variable is one that is not set, as compose files write it; HONE_HOME= must not mean the present folder.
CONFIG = SettingsConfigDict(env_prefix="HONE_", env_ignore_empty=True, frozen=True, extra="ignore", allow_inf_nan=False)
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
