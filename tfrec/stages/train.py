"""Stage 2: the data set becomes a trained model; an interrupted training goes on where it was."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import logging
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfrec import build, config
from tfrec.data import Dataset, DividedDataset
from tfrec.features import ITEM_ID, TEXT, TITLE
from tfrec.ranking import Ranker, RankerEnsemble, load_ranker
from tfrec.report import peak_memory_mb
from tfrec.report.summaries import ProjectorWriter
from tfrec.retrieval import TextTunedTwoTower, TwoTower, joined, load_model
from tfrec.stages.fit import CHECKPOINTS, TENSORBOARD, Trained, fitted, inputs, start_mark
from tfrec.stages.ledger import CONFIG, LEDGER, Run, replaced, write_text
from tfrec.stages.prepare import open_dataset
from tfrec.stages.stage import Stage
from tfrec.stages.workers import lost_workers_told
from tfrec.towers import text_weights
from tfrec.towers.text import TextEncoder
from tfrec.training import Replicas

MODEL, TEXT_WEIGHTS = "model.keras", "text"

Model = TypeVar("Model")

logger = logging.getLogger(__name__)


def open_model(run: Run) -> TwoTower:
    """The trained two-tower model of a run, its best epoch.

    Raises:
        ValueError: the file is damaged.
    """
    return _opened(run, load_model)


def open_ranker(run: Run) -> Ranker | RankerEnsemble:
    """The trained ranker of a run, its best epoch, or the ensemble.

    Raises:
        ValueError: the file is damaged.
    """
    return _opened(run, load_ranker)


def _opened(run: Run, load: Callable[[Path], Model]) -> Model:
    try:
        return load(run.path(CHECKPOINTS, MODEL))
    except ValueError as error:
        raise ValueError(f"{error}. Remove it: it is made again from the checkpoint.") from error


def text_settings(run: Run, data: Dataset | None = None) -> config.Text:
    """The section `model.text` of a run, what it leaves to the data decided."""
    text = run.pipeline.model.text
    return build.decided_text(text, data or open_dataset(run)) if text.source == "auto" else text


def open_batches(run: Run) -> Dataset:
    """The prepared data set of a run; its batches carry the vectors of the users' texts, where the model reads them."""
    data = open_dataset(run)
    build.read_user_texts(data, run.pipeline.model, ranking=run.pipeline.ranking)
    return data


def text_encoder(run: Run) -> TextEncoder | None:
    """What embeds texts as the trained model of a run read them; None where it reads none."""
    settings = text_settings(run)
    return build.text_encoder(settings, run.path(CHECKPOINTS, TEXT_WEIGHTS) if build.tuning(settings) else None)


def embed_texts(run: Run, texts: list[str]) -> np.ndarray | None:
    """float32 [N, W]: the vectors that the trained model's text tower makes of N texts; None where it reads none."""
    encoder = text_encoder(run)
    return None if encoder is None else encoder.embed(texts)


def train_all(run: Run, data: Dataset, replicas: Replicas | None) -> list[Trained]:
    """The trainings of a run, one after the other; on several `replicas` each process calls this."""
    number, divided = run.pipeline.training.ensemble, None
    ranking = run.pipeline.ranking
    if ranking is not None and (replicas is None or replicas.workers == 1):
        check = build.positions if run.pipeline.two_stages else build.check_labels
        check(data, ranking)  # What cannot be learnt or measured is said before a long training.
    if replicas is not None:  # Text vectors are made here and stored: under a strategy, all workers would have to.
        build.text_vectors(data.items[TEXT], build.decided_text(run.pipeline.model.text, data))
    build.read_user_texts(data, run.pipeline.model, run.pipeline.training.text_augmentation, ranking)
    with lost_workers_told(None if replicas is None else replicas.cluster):
        if replicas is not None:
            divided = replicas, _held(data, replicas)
            if ranking is not None:  # Of all that `positions` refuses, what this worker knows.
                own = ranking.learning.events != "training"
                build.check_second_stage(data, divided[1].users("validation") if own else None)
        return [fitted(_member(run, place), data, _parts(number, place), divided) for place in range(number)]


def _held(data: Dataset, replicas: Replicas) -> DividedDataset:
    """What this process holds of the data set.

    Raises:
        ValueError: other workers have prepared another data set.
    """
    held = DividedDataset(data, replicas.worker, replicas.workers)
    if replicas.cluster is not None:
        mine = len(held.own.sequences.user_ids)
        logger.info("train: this worker holds %d of %d users", mine, held.user_count)
        replicas.agree(
            held.mark(),
            "the workers' data sets differ, though their tables and settings do not: were they prepared by the same "
            "versions of pandas, NumPy and PyArrow? Let all read one folder, or remove them and prepare them anew.",
        )
    return held


def train_on(replicas: Replicas) -> Stage:
    """The stage, its work divided among several devices or machines."""
    return dataclasses.replace(train_stage, perform=functools.partial(_perform, replicas=replicas))


def _perform(run: Run, key: str, replicas: Replicas | None = None) -> None:
    data, number = open_dataset(run), run.pipeline.training.ensemble
    trained = train_all(run, data, replicas)
    model = _as_one(trained)
    files = _save(run, model)
    _write_projector(run, data, model)
    first = trained[0]
    run.finish(
        "train",
        key,
        files,
        start=start_mark(run),
        start_seconds=_start_seconds(run),
        seconds=sum(each.seconds for each in trained),
        epochs=len(first.history),
        best_epoch=first.best_epoch,
        epoch_seconds=statistics.median(epoch["epoch_seconds"] for epoch in first.history),
        events_per_second=statistics.median(epoch["events_per_second"] for epoch in first.history),
        parameters=sum(each.parameters for each in trained),
        peak_memory_mb=peak_memory_mb(),
        history=first.history,
        **({"members": [_told(each) for each in trained]} if number > 1 else {}),
    )


def _member(run: Run, place: int) -> Run:
    """The run with the seed of one of its trainings; the first has the pipeline's own."""
    member = copy.copy(run)
    member.pipeline = run.pipeline.model_copy(update={"seed": run.pipeline.seed + place})
    return member


def _parts(number: int, place: int) -> list[str]:
    """Where the checkpoints of one of so many trainings lie, below those of the run."""
    return [] if number == 1 else [f"member_{place + 1}"]


def _as_one(trained: Sequence[Trained]) -> TwoTower | Ranker | RankerEnsemble:
    """The model of a run: what was trained, or the mean of all that was."""
    models = [each.model for each in trained]
    if not models[1:]:
        return models[0]
    if isinstance(models[0], TwoTower):
        for model in models:
            model.lend_ids()
        return joined(models)
    return RankerEnsemble(models, name="ranker_ensemble")


def _told(each: Trained) -> dict[str, Any]:
    """What is remembered of one training of several."""
    figures = {name: value for name, value in each.history[each.best_epoch - 1].items() if name.startswith("val_")}
    return {"seed": each.seed, "epochs": len(each.history), "best_epoch": each.best_epoch, **figures}


def _write_projector(run: Run, data: Dataset, model: TwoTower | Ranker | RankerEnsemble) -> None:
    ranker = model.members[0] if isinstance(model, RankerEnsemble) else model
    if isinstance(ranker, Ranker) and not ranker.interactions:  # The item tower has learnt nothing.
        return
    ids, titles = data.items[ITEM_ID].tolist(), data.items[TITLE].tolist()
    vectors = np.asarray(ranker.item_vectors() if isinstance(ranker, TwoTower) else ranker.item_tower(), np.float32)
    ProjectorWriter(run.path(TENSORBOARD)).write(vectors, ids, titles)


def _save(run: Run, model: TwoTower | Ranker | RankerEnsemble) -> list[Path]:
    """Write the towers, and the tuned text weights beside them, under temporary names first; what was written."""
    written = []
    if isinstance(model, TextTunedTwoTower):
        model.refresh()
        chosen = build.tuning(run.pipeline.model.text)
        assert chosen is not None
        written.append(text_weights.save(model.text, chosen, run.path(CHECKPOINTS, TEXT_WEIGHTS)))
        model = model.without_text
    if isinstance(model, TwoTower):
        model.lend_ids()  # The weights are those of the best epoch now, not of the last one.
    path = run.path(CHECKPOINTS, MODEL)
    with replaced(path) as temporary:
        model.save(temporary)
    settings = run.path(CHECKPOINTS, CONFIG)  # Those of this model, whatever the run is told later.
    write_text(settings, config.dump(run.pipeline))
    return [path, settings, *written]


def _start_seconds(run: Run) -> float | None:
    """What the training of the run to start from took, and that of its own start."""
    start = run.pipeline.model.text.start
    if start is None:
        return None
    try:
        before = json.loads((Path(start) / LEDGER).read_text(encoding="utf-8"))["train"]
        return before["seconds"] + (before.get("start_seconds") or 0.0)
    except (OSError, ValueError, KeyError):
        return None


train_stage = Stage(_perform, reads="prepare", inputs=inputs)
