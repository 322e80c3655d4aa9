"""What an exported version is to weigh and how it searches; `export` and `export_text` take it."""

from __future__ import annotations

from dataclasses import dataclass

from tfrec.serving.index.vectors import QUANTIZATIONS

INDEXES = ("auto", "exact", "ivf")
# Candidates above which `auto` makes an index. Up to here scoring all of them takes a few milliseconds on two cores;
# an index saves at most these, and costs recall.
MANY = 200_000
WORTH = 0.2  # `auto` stays exact where an index reads more than this share: rows from here and there cost more each


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        quantization: how the item vectors, and in a text model the vectors of their texts, are stored: `float32`,
            `float16`, or `int8` with a scale a row.
        index: `exact` scores every item; `ivf` reads the likeliest lists of an inverted file; `auto` is `ivf` above
            `MANY` candidates, unless the index would read more than `WORTH` of them.
        recall: the share of the best 10 items that an answer of the index must hold on average.
        text_weight: how much a query by text counts beside the history; see `Words`.
    """

    quantization: str = "float32"
    index: str = "auto"
    recall: float = 0.98
    text_weight: float = 4.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: one of them cannot be.
        """
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(
                f"`quantization` must be one of {', '.join(QUANTIZATIONS)}; received {self.quantization!r}."
            )
        if self.index not in INDEXES:
            raise ValueError(f"`index` must be one of {', '.join(INDEXES)}; received {self.index!r}.")
        if not 0 < self.recall < 1:
            raise ValueError(f"`recall` must be above 0 and below 1; received {self.recall!r}. For 1 use index: exact.")
        if not self.text_weight > 0:
            raise ValueError(f"`text_weight` must be above 0; received {self.text_weight!r}.")

    def approximate(self, candidates: int) -> bool:
        """Whether an index is made over so many candidates."""
        return self.index == "ivf" or (self.index == "auto" and candidates > MANY)
