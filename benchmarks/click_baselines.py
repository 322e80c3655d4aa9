"""Logistic regression and gradient boosting on hand-made features, beside a ranker of the same data.

python benchmarks/click_baselines.py RUN [RUN ...]      runs of one pipeline with the section `ranking`, a seed each

The features say what the ranker may know: of the item its mean label and number of events in training and its
categories, of the user the categorical columns, of the history the mean label, its number of events, the mean label of
those that share a category with the candidate. One thing they know beyond it, how long ago the last event was: the
ranker is never given the candidate's own time. The history is the events that are strictly earlier, as for the ranker;
of a training event its own label is left out. Settings of both are chosen by the log loss of the validation split.
All is told of the whole test split, of users without training events and of the others. Needs scikit-learn
(`pip install -e .[dev]`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfrec import build, config
from tfrec.data import Dataset, RankingData
from tfrec.data.sequences import first_of_moment, training_events
from tfrec.evaluation import Predictions, compare_predictions, measured
from tfrec.features import event_feature

SHRINKAGE = 10.0
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
BOOSTING = [{"learning_rate": rate, "max_leaf_nodes": leaves} for rate in (0.03, 0.1) for leaves in (7, 15, 31)]
FIGURES = ("auc", "user_auc", "log_loss", "calibration_error")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(runs: tuple[Path, ...]) -> None:
    """Print the figures of the baselines and of the runs, and their paired differences."""
    for part, baselines, ours in parts(runs):
        _print("" if part == "all" else f"{part}: ", baselines, ours)


def parts(runs: Sequence[Path]) -> Iterator[tuple[str, dict[str, Predictions], dict[str, Predictions]]]:
    """Name, baselines and runs of each part of the test users: `all`, `new users` and `known users`."""
    pipeline = config.load(runs[0] / "config.yaml")
    labelled = build.ranking_data(Dataset.open(runs[0] / "dataset"), pipeline.ranking)
    name = (pipeline.ranking.labels or tuple(labelled.data.labels))[0]
    tables = {part: _table(labelled, name, part) for part in ("train", "validation", "test")}
    truth = tables["test"]
    found = {each: _fitted(each, tables) for each in ("logistic regression", "gradient boosting")}
    baselines = {
        each: Predictions(truth.index.to_numpy(), truth["label"].to_numpy(), values, True)
        for each, values in found.items()
    }
    ours = {str(run): _of_run(run, name, truth) for run in runs}
    new = labelled.new_users(_events(labelled, name, "test"))
    for part, which in {"all": np.ones(len(new), bool), "new users": new, "known users": ~new}.items():
        if which.any():
            chosen = ({title: each.take(which) for title, each in some.items()} for some in (baselines, ours))
            yield part, *chosen


def _print(part: str, baselines: dict[str, Predictions], ours: dict[str, Predictions]) -> None:
    """The figures of some events, and the paired differences."""
    runs = list(ours.values())
    for title, each in {**baselines, **ours, **({"mean of the runs": runs} if len(runs) > 1 else {})}.items():
        print(part + title, json.dumps({key: round(value, 4) for key, value in measured(each).items()}))
    for title, each in baselines.items():
        for figure, gap in compare_predictions(runs, each).items():
            if figure in FIGURES:
                ends = f"{gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}), {gap.verdict}"
                print(f"{part}runs against {title}, {figure}: {ends}")


def _of_run(run: Path, name: str, truth: pd.DataFrame) -> Predictions:
    table = pd.read_parquet(run / "predictions_test.parquet")
    table = table[table[name].notna()]
    if not np.array_equal(table[name].to_numpy(), truth["label"].to_numpy()):
        raise click.ClickException(f"{run} predicts other events than the first run: give runs of one pipeline")
    return Predictions(table["user_id"].to_numpy(), table[name].to_numpy(), table[f"predicted_{name}"].to_numpy(), True)


def _table(labelled: RankingData, name: str, part: str) -> pd.DataFrame:
    """Features and `label` of each known event of a part, index user_id, in the order of the data set."""
    data = labelled.data
    sequences, training = data.sequences, training_events(data.sequences, data.held_out > 0)[0]
    events, labels = _events(labelled, name, part), sequences.labels[name].astype(float)
    known = training[~np.isnan(labels[training])]
    frame = _of_items(data, labels, known, events, own=part == "train")
    frame |= _of_history(data, labels, events, labels[known].mean())
    frame |= _of_users(data, events)
    table = pd.DataFrame({**frame, "label": labels[events]}, index=sequences.user_ids[sequences.owners[events]])
    return table


def _events(labelled: RankingData, name: str, part: str) -> np.ndarray:
    """The events of a part of which the label is known, in the order of the data set."""
    if part == "train":
        return labelled.training_events(name)
    events = np.sort(labelled.examples(part).candidates)
    return events[~np.isnan(labelled.data.sequences.labels[name][events])]


def _of_items(data: Dataset, labels: np.ndarray, known: np.ndarray, events: np.ndarray, *, own: bool) -> dict:
    """What the `known` events of training say of the item, an event itself left out where it is its `own`."""
    rows, mean = data.sequences.rows, labels[known].mean()
    total = np.bincount(rows[known], labels[known], len(data.items))[rows[events]]
    count = np.bincount(rows[known], minlength=len(data.items))[rows[events]].astype(float)
    if own:
        total, count = total - labels[events], count - 1
    features = {"item_mean": (total + SHRINKAGE * mean) / (count + SHRINKAGE), "item_events": np.log1p(count)}
    for column, codes in data.item_categories.items():
        for code in range(1, data.category_sizes[column]):
            features[f"{column}_{code}"] = (codes[rows[events]] == code).any(axis=1).astype(float)
    return features


def _of_users(data: Dataset, events: np.ndarray) -> dict:
    """Each value of each categorical column of the users, 1 where it is the user's."""
    owners, found = data.sequences.owners[events], {}
    for column, codes in data.sequences.users.items():
        found |= {f"{column}_{code}": (codes[owners] == code) * 1.0 for code in range(1, int(codes.max()) + 1)}
    return found


def _of_history(data: Dataset, labels: np.ndarray, events: np.ndarray, mean: float) -> dict:
    """Means over all earlier events of the user, and over those that share a category with the candidate.

    They are drawn to the `mean` of the labels in training.
    """
    sequences = data.sequences
    starts = sequences.offsets[sequences.owners[events]]
    ends = first_of_moment(sequences, np.arange(len(sequences.rows)))[events]
    shared = [np.zeros((len(data.items), 0), bool)]
    for column, codes in data.item_categories.items():
        of = np.zeros((len(data.items), data.category_sizes[column]), bool)
        np.put_along_axis(of, codes.astype(int), True, axis=1)
        shared.append(of[:, 1:])
    kinds = np.concatenate(shared, axis=1)[sequences.rows].astype(float)
    known = np.where(np.isnan(labels), 0.0, 1.0)
    values = np.nan_to_num(labels)
    before = _before(np.stack([known, values], axis=1), starts, ends)
    of_kind = _before(np.concatenate([kinds * known[:, None], kinds * values[:, None]], axis=1), starts, ends)
    width, mine = kinds.shape[1], kinds[events]
    like, count = (of_kind[:, width:] * mine).sum(axis=1), (of_kind[:, :width] * mine).sum(axis=1)
    user = (before[:, 1] + SHRINKAGE * mean) / (before[:, 0] + SHRINKAGE)
    features = {
        "user_mean": user,
        "user_events": np.log1p(before[:, 0]),
        "user_mean_of_categories": (like + SHRINKAGE * user) / (count + SHRINKAGE),
        "user_events_of_categories": np.log1p(count),
    }
    for name in data.event_columns:  # What the history's events were like: shares of each value.
        codes = sequences.events[event_feature(name)]
        each = np.stack([codes == code for code in range(1, int(codes.max()) + 1)], axis=1).astype(float)
        counts = _before(each, starts, ends)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        features |= {f"{name}_share_{place}": share for place, share in enumerate(shares.T)}
    if "timestamp" in sequences.events:
        seconds = sequences.events["timestamp"]
        gap = np.where(ends > starts, seconds[events] - seconds[np.maximum(ends - 1, 0)], 0)
        features["gap"] = np.log1p(np.maximum(gap, 0))
    return features


def _before(values: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sums of `values` [N, K] from each start to each end: the events of a user that are earlier than one of them."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return total[ends] - total[starts]


def _fitted(kind: str, tables: dict[str, pd.DataFrame]) -> np.ndarray:
    """Test probabilities of the settings with the least log loss on validation."""
    parts = {
        part: (table.drop(columns="label").to_numpy(), table["label"].to_numpy()) for part, table in tables.items()
    }
    best, chosen = np.inf, None
    for made in _candidates(kind):
        model = made.fit(*parts["train"])
        loss = log_loss(parts["validation"][1], model.predict_proba(parts["validation"][0])[:, 1])
        if loss < best:
            best, chosen = loss, model
    print(f"{kind}: validation log loss {best:.4f}")
    return chosen.predict_proba(parts["test"][0])[:, 1]


def _candidates(kind: str) -> list:
    if kind == "logistic regression":
        return [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)) for strength in STRENGTHS
        ]
    return [
        HistGradientBoostingClassifier(max_iter=200, early_stopping=True, random_state=0, **each) for each in BOOSTING
    ]


if __name__ == "__main__":
    main()
