"""A version in memory, as the server runs it: a session, and a callable for each signature; `repository` owns it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from tfrec.serving import manifest, prediction_logs
from tfrec.serving.server.json_format import Spec
from tfrec.serving.server.problems import ProblemError, invalid
from tfrec.serving.session import load_text_ops, quiet
from tfrec.serving.warmup import FILE as WARMUP

logger = logging.getLogger(__name__)

SCORES_A_RUN = 2**25  # that one run computes: 128 MB
_OF_THE_REQUEST = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError)


@dataclass(frozen=True)
class Signature:
    """A signature of a version.

    Attributes:
        inputs: name -> type and shape.
        outputs: names, in the order of what the callable returns.
        definition: as the model has it.
        call: arrays in the order of `inputs` -> arrays.
    """

    inputs: Mapping[str, Spec]
    outputs: tuple[str, ...]
    definition: Any
    call: Any


class LoadedVersion:
    """One version that answers.

    Attributes:
        name: of the model.
        number: of the version.
        signatures: name -> signature.
        rows_a_run: rows that may be computed together.
        candidates_a_run: of a ranker, candidates that may be judged together, those that fill up rows among them.
        in_use: requests that hold it; it is closed when there are none left.
    """

    def __init__(self, name: str, number: int, folder: Path) -> None:
        """Verify, load and warm up.

        Raises:
            ValueError: the folder is not what was exported, or does not load.
        """
        told = manifest.verify(folder)
        if told.get(manifest.KIND) == manifest.TEXT_MODEL:
            load_text_ops()
        self.name, self.number, self.in_use = name, number, 0
        ranks = told.get(manifest.KIND) == manifest.RANKER  # Each candidate looks at each event; else at all items.
        self.rows_a_run = SCORES_A_RUN if ranks else max(1, SCORES_A_RUN // max(1, int(told["items"])))
        self.candidates_a_run = max(1, SCORES_A_RUN // max(1, int(told["max_length"])))
        # Each run computes in the thread that calls: the server's threads are the parallelism, and no run waits for
        # another one's.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            with graph.as_default(), quiet():
                bundle = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(folder))
            self.signatures = {
                key: self._signature(definition)
                for key, definition in sorted(bundle.signature_def.items())
                if not key.startswith("__")
            }
            with quiet():
                self._warm_up(folder / manifest.EXTRA / WARMUP)
        except Exception as error:
            self._session.close()
            reason = str(error).strip().split("\n")[0][:300] or type(error).__name__
            raise ValueError(f"{folder} does not load: {reason}") from error

    def signature(self, key: str) -> Signature:
        """A signature by its name.

        Raises:
            ProblemError: there is none of that name.
        """
        try:
            return self.signatures[key]
        except KeyError:
            what = f'Serving signature key "{key[:100]}" not found; {self.name} has {", ".join(self.signatures)}.'
            raise ProblemError(grpc.StatusCode.FAILED_PRECONDITION, what) from None

    def run(self, key: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature, from arrays that fit it; in the thread that calls.

        Raises:
            ProblemError: the graph refuses the values.
        """
        signature = self.signatures[key]
        try:
            found = signature.call(*[inputs[name] for name in signature.inputs])
        except _OF_THE_REQUEST as error:
            raise invalid(_reason(error)) from error
        return dict(zip(signature.outputs, found, strict=True))

    def close(self) -> None:
        """Give the memory back."""
        self._session.close()
        self.signatures = {}

    def _signature(self, definition: Any) -> Signature:
        inputs, outputs = dict(sorted(definition.inputs.items())), dict(sorted(definition.outputs.items()))
        call = self._session.make_callable(
            [one.name for one in outputs.values()], [one.name for one in inputs.values()]
        )
        return Signature({name: _spec(one) for name, one in inputs.items()}, tuple(outputs), definition, call)

    def _warm_up(self, file: Path) -> None:
        for signature, inputs, _ in prediction_logs.read(file) if file.is_file() else ():
            self.run(signature, inputs)


def check_names(signature: Signature, given: Collection[str]) -> None:
    """Hold the names of inputs to those that a signature takes, before their values are looked at.

    Raises:
        ProblemError: they are others.
    """
    if set(given) != set(signature.inputs):
        missing, extra = sorted(set(signature.inputs) - set(given)), sorted(set(given) - set(signature.inputs))
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(signature.inputs)}. Sent extra: "
            f"{{{','.join(extra)[:200]}}}. Missing but required: {{{','.join(missing)}}}."
        )


def check(signature: Signature, inputs: Mapping[str, np.ndarray], most_rows: int) -> int:
    """Hold the inputs of a request to what a signature takes; the number of its rows.

    Raises:
        ProblemError: names, types or shapes are others, a number is not finite, or there are too many rows.
    """
    check_names(signature, inputs)
    for name, spec in signature.inputs.items():
        array = inputs[name]
        if array.dtype != spec.dtype:
            raise invalid(f"Input {name!r} has type {_type(array.dtype)}, expected is {_type(spec.dtype)}.")
        if len(array.shape) != len(spec.shape) or any(
            expected not in (-1, size) for size, expected in zip(array.shape, spec.shape, strict=True)
        ):
            raise invalid(f"Input {name!r} has shape {list(array.shape)}, expected is {list(spec.shape)} (-1: any).")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise invalid(f"Input {name!r} holds a number that is not finite.")
    counts = {len(inputs[name]) for name in signature.inputs}
    if len(counts) != 1:
        raise invalid(f"The inputs differ in their rows: {sorted(counts)}.")
    rows = counts.pop()
    if not rows:
        raise invalid("The request has no rows.")
    if rows > most_rows:
        raise invalid(f"The request has {rows} rows; this server takes {most_rows}.")
    return rows


def _spec(tensor: Any) -> Spec:
    kind = tf.dtypes.as_dtype(tensor.dtype)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    return Spec(object if kind == tf.string else kind.as_numpy_dtype, shape)


def _type(dtype: np.dtype) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _reason(error: tf.errors.OpError) -> str:
    """The first line of what the graph says, without the heading that TensorFlow puts above it."""
    lines = [line.strip() for line in (error.message or "").splitlines() if line.strip()]
    return next((line for line in lines if not line.endswith("error:")), type(error).__name__)[:300]
