"""Several trained variants side by side: quality on all, cold and tail users, cost, and which differences are real.

`stages.comparison` trains them and fills in what is here; `comparison_tables` and `cost_plot` show it. Rankers of
labels are compared by `prediction_comparison`.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tfrec.evaluation import Difference, compare, summary
from tfrec.evaluation.slices import COLD_ITEMS, FEW_EVENTS, MOST_FEW_EVENTS
from tfrec.report import tables

# Parts of the test users -> the slice that they are.
ALL = "all"
PARTS = {ALL: None, "cold": COLD_ITEMS, "tail": FEW_EVENTS}
COSTS = """\
Seconds (all epochs, with those of the run whose towers a variant started from; an epoch) are the mean over seeds,
memory is the most of any seed, of a process that only trains; both stages count where there are two. What made a text
model is in none of them; embedding the texts, done once and then cached, is in the memory of the process that did
it."""
_NOTES = f"""\
Full ranking over the whole catalogue, test split. A figure is the mean over seeds, then over users; ± is its 95 %
half-width over users. Cold: users whose target training never had; tail: users whose target had 1 to {MOST_FEW_EVENTS}
training events. {COSTS}"""


@dataclass(frozen=True)
class Trained:
    """One trained model: a variant at one seed.

    Attributes:
        per_user: figures, index user_id.
        groups: bool, index user_id, a column a slice.
        metrics: the content of its `metrics.json`.
        parameters: weights that train.
        train_seconds: of all epochs, those of the run that it started from included.
        epoch_seconds: median.
        peak_memory_mb: MiB, of the process that trained.
    """

    per_user: pd.DataFrame
    groups: pd.DataFrame
    metrics: Mapping[str, Any]
    parameters: int
    train_seconds: float
    epoch_seconds: float
    peak_memory_mb: float

    def users(self, part: str) -> pd.Index:
        """The test users of a part of `PARTS`, in the order of `per_user`."""
        name = PARTS[part]
        if name is None:
            return self.per_user.index
        inside = self.groups[name] if name in self.groups else pd.Series(False, self.groups.index)
        return self.per_user.index[inside.loc[self.per_user.index].to_numpy(bool)]

    def session(self, names: Sequence[str]) -> dict[str, float]:
        """The figures of the HParams tab: of all test users, of each slice of the tables."""
        parts = {
            part: self.metrics["slices"].get(name) if name else self.metrics["test"] for part, name in PARTS.items()
        }
        return {f"{part}/{name}": one[name] for part, one in parts.items() if one is not None for name in names}


@dataclass(frozen=True)
class Contender:
    """One variant.

    Attributes:
        name: in the tables.
        text: where the weights of its text model come from.
        tuning: what of the text model trains.
        encoder: sequence encoders.
        ranking: interactions of the ranker; empty where there is none.
        changes: dotted key -> value.
        trained: seed -> model, `Trained` or what another kind of comparison holds.
        failed: seed -> why there is none, one line.
    """

    name: str
    text: str
    tuning: str
    encoder: str
    ranking: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[int, Any] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)

    @property
    def models(self) -> list[Any]:
        """The trained models, a seed each."""
        return list(self.trained.values())

    def figures(self, part: str, names: Sequence[str]) -> dict[str, float]:
        """`users`, and the mean and half-width of each figure over a part's users; seeds are averaged first."""
        first = self.models[0]
        users = first.users(part)
        total = (
            sum(model.per_user.loc[users, list(names)] for model in self.models[1:])
            + first.per_user.loc[users, list(names)]
        )
        return summary(total / len(self.models))

    def costs(self) -> dict[str, float]:
        """Weights that train, seconds as the mean over seeds, memory as the most of any seed."""
        return {
            "parameters": self.models[0].parameters,
            "train_seconds": statistics.fmean(model.train_seconds for model in self.models),
            "epoch_seconds": statistics.fmean(model.epoch_seconds for model in self.models),
            "peak_memory_mb": max(model.peak_memory_mb for model in self.models),
        }


@dataclass(frozen=True)
class Comparison:
    """All variants of one pipeline.

    Attributes:
        name: of the pipeline.
        reference: name of the variant that the others are compared with.
        contenders: every variant, in the order of the tables; at least one has a trained model.
    """

    name: str
    reference: str
    contenders: Sequence[Contender]

    @property
    def measured(self) -> list[Contender]:
        """The variants with a trained model."""
        return [each for each in self.contenders if each.trained]

    @property
    def failures(self) -> list[tuple[str, int, str]]:
        """Variant, seed and reason of each training that gave nothing."""
        return [(each.name, seed, reason) for each in self.contenders for seed, reason in each.failed.items()]

    @property
    def cutoff(self) -> int:
        """The k of the tables."""
        return tables.main_cutoff(self.measured[0].models[0].metrics["test"])

    @property
    def names(self) -> list[str]:
        """The figures of the tables."""
        return [f"hr@{self.cutoff}", f"ndcg@{self.cutoff}"]

    @property
    def parts(self) -> list[str]:
        """The parts of the test split."""
        return list(PARTS)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Part and figure of each column that somebody has."""
        parts = [part for part in PARTS if any(part in found for found in self.figures.values())]
        return [(part, name) for part in parts for name in self.names]

    @property
    def main(self) -> tuple[str, str]:
        """Part and figure of the picture."""
        return ALL, f"ndcg@{self.cutoff}"

    @property
    def axis(self) -> str:
        """What the picture shows upwards."""
        return f"mean over test users of {self.heading(*self.main)}"

    @property
    def notes(self) -> str:
        """What the tables show."""
        return _NOTES

    @property
    def title(self) -> str:
        """What the figures are of, in a few words."""
        return "test split, full ranking, ± 95 % half-width over users"

    def heading(self, part: str, name: str) -> str:
        """What a column is called."""
        return f"{name.upper()}{'' if part == ALL else f' {part}'}"

    @functools.cached_property
    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Variant -> part -> figures; parts without users are left out."""
        found = {each.name: {part: each.figures(part, self.names) for part in PARTS} for each in self.measured}
        return {name: {part: one for part, one in parts.items() if one["users"]} for name, parts in found.items()}

    @functools.cached_property
    def differences(self) -> dict[str, dict[str, dict[str, Difference]]]:
        """Variant -> part -> figure -> its difference from the reference, over the reference's users of that part.

        Empty where the reference was not trained; variants with other test users are left out.
        """
        reference = next((each for each in self.measured if each.name == self.reference), None)
        if reference is None:
            return {}
        others = [each for each in self.measured if each is not reference and self._comparable(each, reference)]
        return {each.name: self._against(each, reference) for each in others}

    def _comparable(self, ours: Contender, theirs: Contender) -> bool:
        mine, other = (side.models[0].per_user.index for side in (ours, theirs))
        return len(mine) == len(other) and mine.sort_values().equals(other.sort_values())

    def _against(self, ours: Contender, theirs: Contender) -> dict[str, dict[str, Difference]]:
        found = {}
        for part in PARTS:
            users = theirs.models[0].users(part)
            if len(users):
                mine, other = ([model.per_user.loc[users] for model in side.models] for side in (ours, theirs))
                found[part] = compare(mine, other, metrics=self.names)
        return found

    def document(self) -> dict[str, Any]:
        """The content of `comparison.json`."""
        return {
            "name": self.name,
            "reference": self.reference,
            **self._own(),
            "variants": {each.name: self._entry(each) for each in self.contenders},
            "differences": {
                name: {part: {figure: _gap(gap) for figure, gap in gaps.items()} for part, gaps in parts.items()}
                for name, parts in self.differences.items()
            },
            "failures": [dict(zip(("variant", "seed", "reason"), each, strict=True)) for each in self.failures],
        }

    def _own(self) -> dict[str, Any]:
        """What the document says besides."""
        return {"cutoff": self.cutoff}

    def _entry(self, each: Contender) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "changes": each.changes, "text": each.text, "tuning": each.tuning, "encoder": each.encoder,
            **({"ranking": each.ranking} if each.ranking else {}),
            "seeds": list(each.trained), "failed_seeds": list(each.failed),
        }  # fmt: skip
        if each.trained:
            entry |= {"slices": self.figures[each.name], **each.costs(), **self._means(each)}
            entry["environment"] = each.models[0].metrics["environment"]
        return entry

    def _means(self, each: Contender) -> dict[str, dict[str, float]]:
        """Split -> figures, the mean over seeds."""
        shared = [*self.names, f"cold_share@{self.cutoff}"]
        return {
            split: {name: statistics.fmean(model.metrics[split][name] for model in each.models) for name in names}
            for split, names in (("validation", self.names), ("test", shared))
        }


def _gap(gap: Difference) -> dict[str, Any]:
    """A difference as JSON values; where less is better, the figures are as they are and their difference is turned."""
    return {
        "ours": abs(gap.ours), "theirs": abs(gap.theirs), "difference": gap.difference,
        "low": gap.low, "high": gap.high,
        "verdict": gap.verdict, "seeds": gap.seeds,
    }  # fmt: skip
