"""What every tower and encoder holds to, one function a rule; the tests of a layer run them all on it.

A `Subject` says how the layer is made and called. `@pytest.mark.parametrize("rule", SEQUENCE_RULES)` then gives one
test a rule: `rule(subject)`.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

MAX_ARGUMENTS = 8


@dataclass(frozen=True)
class Subject:
    """A layer under contract.

    `inputs(rows, length)` gives the positional arguments of a call, nested in lists and dicts as the layer wants them;
    every array of two dimensions or more has time on axis 1. `first` is how many states precede the first event's.
    """

    make: Callable[[], keras.layers.Layer]
    inputs: Callable[[int, int], list[Any]]
    width: int
    first: int = 0

    def outputs(self, layer: keras.layers.Layer, inputs: list[Any]) -> np.ndarray:
        return keras.ops.convert_to_numpy(layer(*inputs, **self.training(layer, False))).astype("float32")

    def training(self, layer: keras.layers.Layer, training: bool) -> dict[str, bool]:
        return {"training": training} if "training" in inspect.signature(layer.call).parameters else {}


def sequence_inputs(width: int, seed: int = 0) -> Callable[[int, int], list[Any]]:
    """Random float [rows, length, width]; a longer row begins as the shorter one."""

    def inputs(rows: int, length: int) -> list[Any]:
        return [np.random.default_rng(seed).normal(size=(rows, 40, width)).astype("float32")[:, :length]]

    return inputs


def disturb(layer: keras.layers.Layer, seed: int = 3) -> keras.layers.Layer:
    """Build what is not built, and move every float weight off its initial value, so that zeros hide nothing."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(weight.numpy() + 0.3 * rng.normal(size=weight.shape))
    return layer


def made(subject: Subject) -> keras.layers.Layer:
    """The layer, built by its first call, with weights that are not zero."""
    layer = subject.make()
    subject.outputs(layer, subject.inputs(1, 2))
    return disturb(layer)


def map_arrays(function: Callable[[np.ndarray], np.ndarray], inputs: Any) -> Any:
    return keras.tree.map_structure(function, inputs)


def shape(subject: Subject) -> None:
    """A state of the declared width for each event, none of them the same for all inputs."""
    outputs = subject.outputs(made(subject), subject.inputs(3, 6))
    assert outputs.shape == (3, 6 + subject.first, subject.width)
    assert np.isfinite(outputs).all()
    assert outputs[:, subject.first :].std(axis=(0, 1)).min() > 1e-4


def padding_invariance(subject: Subject) -> None:
    """What a row is padded with on the right changes none of its states."""
    layer, inputs = made(subject), subject.inputs(2, 5)
    padded = map_arrays(lambda a: a if a.ndim < 2 else np.pad(a, [(0, 0), (0, 4)] + [(0, 0)] * (a.ndim - 2)), inputs)
    short, long = subject.outputs(layer, inputs), subject.outputs(layer, padded)
    np.testing.assert_allclose(long[:, : short.shape[1]], short, atol=2e-5)


def causality(subject: Subject) -> None:
    """A change of an event changes its state, and no state before it."""
    layer, inputs, at = made(subject), subject.inputs(2, 7), 4

    def changed(array: np.ndarray) -> np.ndarray:
        if array.ndim < 2:
            return array
        array = array.copy()
        array[:, at:] = 1 - array[:, at:] if array.dtype.kind == "f" else array[:, at:] // 2
        return array

    before, after = subject.outputs(layer, inputs), subject.outputs(layer, map_arrays(changed, inputs))
    np.testing.assert_allclose(after[:, : at + subject.first], before[:, : at + subject.first], atol=2e-5)
    assert np.abs(after - before)[:, at + subject.first].max() > 1e-3


def prefix(subject: Subject) -> None:
    """State t of a long row is the last state of the row that ends there."""
    layer = made(subject)
    whole = subject.outputs(layer, subject.inputs(2, 7))
    for length in (1, 2, 4, 6):
        part = subject.outputs(layer, subject.inputs(2, length))
        np.testing.assert_allclose(part[:, -1], whole[:, length - 1 + subject.first], atol=2e-5)


def gradients(subject: Subject) -> None:
    """A loss over the outputs moves every trainable weight."""
    layer, inputs = made(subject), subject.inputs(4, 6)
    weights = layer.trainable_weights
    with tf.GradientTape() as tape:
        outputs = layer(*inputs, **subject.training(layer, False))
        direction = np.random.default_rng(1).normal(size=outputs.shape)
        loss = tf.reduce_sum(outputs * direction)
    found = tape.gradient(loss, [weight.value for weight in weights])
    assert weights
    assert not [weight.path for weight, gradient in zip(weights, found, strict=True) if gradient is None]
    sizes = {w.path: float(tf.reduce_max(tf.abs(tf.convert_to_tensor(g)))) for w, g in zip(weights, found, strict=True)}
    assert not [path for path, size in sizes.items() if not size > 1e-6]


def config_round_trip(subject: Subject) -> None:
    """The config names each argument of the constructor, survives JSON, and makes a layer of the same weights."""
    layer = made(subject)
    config = keras.saving.serialize_keras_object(layer)
    rebuilt = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert set(arguments(type(layer))) <= set(layer.get_config())
    subject.outputs(rebuilt, subject.inputs(1, 2))
    assert _bare(rebuilt.get_config()) == _bare(layer.get_config())
    assert [weight.shape for weight in rebuilt.weights] == [weight.shape for weight in layer.weights]
    rebuilt.set_weights(layer.get_weights())
    inputs = subject.inputs(2, 4)
    np.testing.assert_array_equal(subject.outputs(rebuilt, inputs), subject.outputs(layer, inputs))


def save_and_load(subject: Subject, folder: Any) -> None:
    """A saved model that holds the layer answers as it did, whatever was in memory."""
    model = Holder(made(subject))
    inputs = subject.inputs(2, 4)
    expected = np.asarray(model(inputs))
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras", custom_objects={"Holder": Holder})
    np.testing.assert_array_equal(np.asarray(loaded(inputs)), expected)


def one_trace(subject: Subject) -> None:
    """One `tf.function` serves every batch size and length."""
    layer, traces = made(subject), []

    def open_spec(array: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec([None] * min(array.ndim, 2) + list(array.shape[2:]), array.dtype)

    @tf.function(input_signature=[map_arrays(open_spec, subject.inputs(1, 2))], autograph=False)
    def run(inputs: Any) -> Any:
        traces.append(1)
        return layer(*inputs, **subject.training(layer, False))

    for rows, length in ((1, 1), (3, 5), (2, 9), (5, 2)):
        inputs = subject.inputs(rows, length)
        np.testing.assert_allclose(run(inputs).numpy(), subject.outputs(layer, inputs), atol=2e-5)
    assert len(traces) == 1


def half_precision(subject: Subject) -> None:
    """Under `mixed_bfloat16` the weights stay float32, the outputs are bfloat16 and near those of float32."""
    layer, inputs = made(subject), subject.inputs(2, 5)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = subject.make()
        outputs = half(*inputs, **subject.training(half, True))
        assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
        assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
        half.set_weights(layer.get_weights())
        np.testing.assert_allclose(subject.outputs(half, inputs), subject.outputs(layer, inputs), atol=0.25)
    finally:
        keras.config.set_dtype_policy(before)


def few_arguments(subject: Subject) -> None:
    """A constructor takes few arguments."""
    assert 1 <= len(arguments(type(subject.make()))) <= MAX_ARGUMENTS


SEQUENCE_RULES = [
    shape,
    padding_invariance,
    causality,
    prefix,
    gradients,
    config_round_trip,
    save_and_load,
    one_trace,
    half_precision,
    few_arguments,
]
TABLE_RULES = [gradients, config_round_trip, save_and_load, one_trace, half_precision, few_arguments]


def check(rule: Callable[..., None], subject: Subject, folder: Any) -> None:
    """Run a rule; `folder` is for those that write."""
    rule(*[subject, folder][: len(inspect.signature(rule).parameters)])


def arguments(kind: type) -> list[str]:
    """Names of what a constructor takes, beside `**kwargs`."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [one.name for one in parameters if one.kind is not inspect.Parameter.VAR_KEYWORD]


@keras.saving.register_keras_serializable(package="tests")
class Holder(keras.Model):
    """A model of one layer."""

    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer
        self.built = True

    def call(self, inputs: list[Any]) -> Any:
        return self.layer(*inputs)

    def get_config(self) -> dict[str, Any]:
        return {"layer": keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Holder":
        return cls(keras.saving.deserialize_keras_object(config["layer"]))


def _bare(config: Any) -> Any:
    """A config without what Keras adds of one object's life: ids of shared parts, shapes seen."""
    if isinstance(config, dict):
        return {key: _bare(value) for key, value in config.items() if key not in ("shared_object_id", "build_config")}
    return [_bare(value) for value in config] if isinstance(config, list | tuple) else config
