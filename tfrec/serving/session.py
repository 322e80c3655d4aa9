"""A SavedModel as a server loads it: graph and variables in a fresh session, none of the Python objects that wrote it."""

from __future__ import annotations

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


@contextmanager
def open_session(folder: Path) -> Iterator[SessionModel]:
    """Load a SavedModel with the tag `serve` in a graph and a session of its own.

    Raises:
        ValueError: the folder holds no SavedModel that loads.
    """
    logger = tf.get_logger()
    level = logger.level
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        try:
            logger.setLevel("ERROR")  # The loader is stable, and says that it is deprecated each time.
            bundle = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(folder))
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
            raise ValueError(f"{folder} does not load as a SavedModel: {reason}") from error
        finally:
            logger.setLevel(level)
        yield SessionModel(session, bundle.signature_def)


def _described(tensor: Any) -> dict[str, Any]:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return {"dtype": tf.dtypes.as_dtype(tensor.dtype).name, "shape": shape}
