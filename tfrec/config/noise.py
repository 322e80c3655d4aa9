"""Settings of noise in histories: in training, and where it is measured what it costs a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tfrec.config.values import Settings, Share


class Noise(Settings):
    """Noise in histories."""

    delete: Share = Field(0.2, description="share of the events that are taken out")
    insert: Share = Field(0.2, description="share of the events before which a popular item is put in")


class Disturbed(Noise):
    """Noise in the histories of the validation and the test split."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="the noise follows from it")
