"""Settings of noise: in histories, in training and where it is measured what it costs a model; in texts."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from tfrec.config.values import Count, Settings, Share


class Noise(Settings):
    """Noise in histories."""

    delete: Share = Field(0.2, description="share of the events that are taken out")
    insert: Share = Field(0.2, description="share of the events before which a popular item is put in")


class Disturbed(Noise):
    """Noise in the histories of the validation and the test split."""

    seed: Annotated[int, Field(ge=0)] = Field(0, description="the noise follows from it")


class TextAugmentation(Settings):
    """Texts of items and users with words deleted and swapped at random, in training alone."""

    drop: Share = Field(0.1, description="how likely a word is deleted; one of a text always stays")
    swap: Share = Field(0.1, description="how likely a word is one of those of its text that change places")
    variants: Count | None = Field(
        None,
        description="of a frozen text model: augmented variants of each text, whose vectors are computed beforehand; "
        "each look-up draws one of them, or the text as it is; 4 by default",
    )

    @model_validator(mode="after")
    def _augments(self) -> Self:
        if not (self.drop or self.swap):
            raise ValueError(
                "drop is 0 and swap is 0, which changes no text: set one of them, or leave text_augmentation out"
            )
        return self
