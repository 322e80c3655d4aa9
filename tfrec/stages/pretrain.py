"""Apart from the stages of a run, and before it: the texts of the items become a text model that `model.text` takes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrec import build, config
from tfrec.report import peak_memory_mb
from tfrec.stages.ledger import Run, write_text
from tfrec.towers import text_scratch
from tfrec.towers.text_files import READING
from tfrec.towers.text_models import TextModel
from tfrec.towers.text_tuning import Tuning, tune
from tfrec.training import TrainingCheckpoint, train
from tfrec.training.pretraining import (
    MONITOR,
    SECONDS,
    EpochSeconds,
    HeldOut,
    LanguageLearner,
    split,
    unigram_perplexity,
)
from tfrec.training.text_batches import TextPlan, Tokens, tokenize

STAGE, PRESET, WORK, OWNER = "pretrain", "text_model", "pretraining", "key"
CURE = "Lower pretraining.learning_rate"
FEW_TEXTS, SAMPLE = 1000, 32

logger = logging.getLogger(__name__)


def pretrain(pipeline: config.Pipeline, out: str | Path | None = None) -> str:
    """Train a text model on the texts of the items, unless that was done before.

    An interrupted training goes on at its last epoch and ends as if nothing had happened.

    Args:
        pipeline: the settings, of which `data.items`, `pretraining` and `seed` count.
        out: folder of the run; `runs/<pipeline name>` where None. It receives `text_model`, the preset that
            `model.text` takes, with `pretraining.json` in it, and `pretraining`, checkpoints and TensorBoard's logs.

    Returns:
        What was reached, and where it lies, in one line.

    Raises:
        ValueError: a setting, the table of items or the folder is wrong, or the training diverges.
        OSError: a file cannot be read or written.
    """
    run = Run(pipeline, Path(out) if out is not None else Path("runs") / pipeline.name)
    with run.locked():
        texts = build.catalogue_texts(pipeline.data)
        key = run.key(STAGE, [_hash(texts), _source_mark(run), READING])
        if run.done(STAGE, key):
            logger.info("pretrain: done before, nothing to do")
        else:
            logger.info("pretrain ...")
            _perform(run, key, texts)
    return _summary(run)


def _perform(run: Run, key: str, texts: list[str]) -> None:
    with run.opened():
        text_scratch.check_destination(run.path(PRESET))
        work = _Work(run, texts)
    run.begin(STAGE)
    checkpoint = _checkpoint(run, key)
    seconds, board = EpochSeconds(), keras.callbacks.TensorBoard(str(run.path(WORK, "tensorboard")))
    with contextlib.redirect_stdout(sys.stderr):  # Keras shows its progress on standard output.
        history = train(
            work.learner,
            work.plan,
            work.held_out.dataset(),
            checkpoint,
            epochs=run.pipeline.pretraining.epochs,
            seed=run.pipeline.seed,
            callbacks=[seconds, board],
            verbose=1 if sys.stderr.isatty() else 2,
        )
    about = work.about(history, checkpoint.best_epoch)
    sample = [texts[place] for place in np.linspace(0, len(texts) - 1, min(SAMPLE, len(texts))).astype(int)]
    text_scratch.save(work.model, run.path(PRESET), about, sample)
    run.finish(STAGE, key, [run.path(PRESET)], **{name: about[name] for name in ("seconds", *_FIGURES)})


_FIGURES = ("perplexity", "unigram_perplexity", "best_epoch", "epochs")


class _Work:
    """All that a pretraining is made of, at its seed's beginning."""

    def __init__(self, run: Run, texts: list[str]) -> None:
        settings, seed = run.pipeline.pretraining, run.pipeline.seed
        self.settings, self.seed, self.texts = settings, seed, texts
        if len(texts) < FEW_TEXTS:
            logger.warning("pretrain: %d distinct texts are few: what they teach may be little", len(texts))
        self.training, self.validation = split(len(texts), settings.validation, seed)
        self.model: TextModel = build.language_model(settings, texts, seed)
        self.objective = build.language_objective(tune(self.model, Tuning("full")), settings, seed)
        self.tokens: Tokens = tokenize(self.model, texts)
        budget = settings.tokens_per_batch
        self.held_out = HeldOut(self.objective, self.tokens, self.validation, tokens_per_batch=budget, seed=seed)
        self.plan = TextPlan(self.tokens, self.training, tokens_per_batch=budget, seed=seed)
        self.learner = LanguageLearner(self.objective)
        self.learner.compile(optimizer=build.language_optimizer(settings, len(self.plan)), jit_compile=False)

    def about(self, history: list[dict[str, float]], best_epoch: int) -> dict[str, Any]:
        """What `pretraining.json` says."""
        settings, count = self.settings, len(self.training)
        origin = f"continued from {settings.source}" if settings.source else "trained here from random weights"
        truth = self.held_out.truth
        parameters = sum(math.prod(weight.shape) for weight in self.model.backbone.weights)
        return {
            "origin": f"{origin} on {count} texts",
            "objective": type(self.objective).__name__,
            "perplexity": math.exp(-history[best_epoch][MONITOR]),
            "unigram_perplexity": unigram_perplexity(self.objective, self.tokens, self.training, truth),
            "tokens_asked": len(truth),
            "best_epoch": best_epoch + 1,
            "epochs": len(history),
            "seconds": sum(epoch[SECONDS] for epoch in history),
            "training_texts": count,
            "validation_texts": len(self.validation),
            "training_tokens": int(self.tokens.lengths[self.training].sum()),
            "texts_sha256": _hash(self.texts),
            "vocabulary": self.model.tokenizer.vocabulary_size(),
            "parameters": parameters,
            "peak_memory_mb": peak_memory_mb(),
            "seed": self.seed,
            "settings": settings.model_dump(mode="json"),
            "history": history,
        }


def _checkpoint(run: Run, key: str) -> TrainingCheckpoint:
    """The checkpoint of this very pretraining, so that it goes on; that of another is taken away."""
    folder, owner = run.path(WORK), run.path(WORK, OWNER)
    if not owner.exists() or owner.read_text(encoding="utf-8") != key:
        if folder.exists():
            logger.warning("pretrain: removing %s: of a training with other settings, texts or source", folder)
            owner.unlink(missing_ok=True)  # First: half of a checkpoint is nobody's.
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_text(owner, key)
    return TrainingCheckpoint(folder, monitor=MONITOR, patience=run.pipeline.pretraining.patience, cure=CURE)


def _source_mark(run: Run) -> str | None:
    source = run.pipeline.pretraining.source
    if source is None:
        return None
    if Path(source).resolve() == run.path(PRESET).resolve():
        raise ValueError(f"pretraining.source is {source}, the folder that is to be written: name another --out.")
    return build.text_mark(config.Text(source=source))


def _hash(texts: list[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "replace") + b"\x00")
    return digest.hexdigest()


def _summary(run: Run) -> str:
    figures = run.figures(STAGE)
    return (
        f"{run.path(PRESET)}: validation perplexity {figures['perplexity']:.1f} (unigram model "
        f"{figures['unigram_perplexity']:.1f}), best epoch {figures['best_epoch']} of {figures['epochs']}, "
        f"{figures['seconds']:.0f} s. Use it with --set model.text={run.path(PRESET)}"
    )
