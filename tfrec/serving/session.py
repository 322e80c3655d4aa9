"""A SavedModel as a server loads it: graph and variables in a fresh session, without the Python objects behind it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


class SessionModel:
    """A loaded bundle: its signatures, and a way to run them."""

    def __init__(self, session: Any, definitions: Mapping[str, Any]) -> None:
        """Hold an open session and the signatures of the graph in it."""
        self._session, self._definitions = session, definitions

    @property
    def signatures(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Signature -> `inputs` and `outputs` -> name -> dtype and shape; the batch and the time are -1."""
        return {
            name: {
                side: {key: _described(tensor) for key, tensor in sorted(getattr(definition, side).items())}
                for side in ("inputs", "outputs")
            }
            for name, definition in sorted(self._definitions.items())
            if not name.startswith("__")
        }

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name.

        Raises:
            ValueError: the signature is missing.
        """
        if signature not in self._definitions:
            raise ValueError(f"There is no signature {signature!r}; there are {', '.join(self.signatures)}.")
        definition = self._definitions[signature]
        feeds = {definition.inputs[name].name: values for name, values in inputs.items()}
        return self._session.run({name: tensor.name for name, tensor in definition.outputs.items()}, feeds)


def load_text_ops() -> None:
    """Load the operations of tensorflow-text, which the graph of a text model holds; a server has them built in.

    Raises:
        ImportError: the package is missing.
    """
    import tensorflow_text  # noqa: F401


@contextmanager
def open_session(folder: Path) -> Iterator[SessionModel]:
    """Load a SavedModel with the tag `serve` in a graph and a session of its own.

    Raises:
        ValueError: the folder holds no SavedModel that loads.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    try:
        with graph.as_default(), quiet():
            bundle = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        session.close()
        reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise ValueError(f"{folder} does not load as a SavedModel: {reason}") from error
    try:  # Outside the graph, which as a default would catch what the caller computes eagerly.
        yield SessionModel(session, bundle.signature_def)
    finally:
        session.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Without TensorFlow's remarks on saving and loading: renamed inputs, gradients left out, a loader called old."""
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _described(tensor: Any) -> dict[str, Any]:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return {"dtype": tf.dtypes.as_dtype(tensor.dtype).name, "shape": shape}
