"""What of a text model trains: LoRA factors, bottleneck adapters, deep prefixes, its top blocks, or all of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tfrec.towers.text_models import TextModel

KINDS = ("lora", "adapter", "prefix", "partial", "full")
# Attention's projections of queries and values get the factors, as in the paper; KerasHub's names of them.
_LORA_LAYERS = ("query", "value", "query_dense", "value_dense")
_PREFIX_BLOCKS = ("TransformerEncoder", "TransformerDecoder")


@dataclass(frozen=True)
class Tuning:
    """How a text model is tuned.

    Attributes:
        kind: `lora` (Hu et al., arXiv:2106.09685), `adapter` (Houlsby et al., arXiv:1902.00751, one after each block,
            as in Pfeiffer et al., arXiv:2005.00247), `prefix` (learnt states before the text in each block: P-tuning
            v2, arXiv:2110.07602), `partial` (the top `size` blocks), or `full`.
        size: rank of the factors, width of the bottleneck, states of the prefix, or blocks from the top.
    """

    kind: str
    size: int = 4

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; received {self.kind!r}.")
        if self.size < 1:
            raise ValueError(f"`size` must be 1 or more; received {self.size}.")


def tune(model: TextModel, tuning: Tuning) -> TextModel:
    """A model whose backbone trains as `tuning` says: `backbone.trainable_variables` are exactly what may change.

    The given backbone's layers are shared and marked; load another one where it is still needed as it was. A model
    that was just tuned gives the vectors that it gave before, but for `prefix`, whose states begin small, not absent.

    Raises:
        ValueError: the family does not allow it, or it has fewer blocks.
    """
    backbone = _states_alone(model.backbone)
    for layer in backbone._flatten_layers(include_self=False):
        layer.trainable = tuning.kind == "full"
    if tuning.kind == "lora":
        _add_factors(backbone, tuning.size)
    elif tuning.kind == "partial":
        _free_top(backbone, tuning.size)
    elif tuning.kind == "adapter":
        backbone = _with_adapters(backbone, tuning.size)
    elif tuning.kind == "prefix":
        backbone = _with_prefixes(backbone, tuning.size)
    return dataclasses.replace(model, backbone=backbone)


def share_of(backbone: Any) -> float:
    """What share of the weights trains."""
    count = lambda weights: sum(weight.value.shape.num_elements() for weight in weights)  # noqa: E731
    return count(backbone.trainable_variables) / max(count(backbone.variables), 1)


def blocks(backbone: Any) -> list[Any]:
    """The transformer blocks, from the first to the last: the kind of numbered layer that holds most of the weights."""
    kinds: dict[type, list[Any]] = {}
    for layer in backbone.layers:
        if re.search(r"_\d+$", layer.name) and layer.weights:
            kinds.setdefault(type(layer), []).append(layer)
    if not kinds:
        raise ValueError(f"{backbone.name!r} has no numbered blocks to tune: use `full`, or another text model.")
    return max(kinds.values(), key=lambda layers: sum(layer.count_params() for layer in layers))


def _states_alone(backbone: Any) -> Any:
    """The backbone without what comes after its states, such as BERT's pooler, which no loss here would reach."""
    output = backbone.output
    if not isinstance(output, Mapping):
        return backbone
    return keras.Model(backbone.input, {"sequence_output": output["sequence_output"]}, name=backbone.name)


def _add_factors(backbone: Any, rank: int) -> None:
    found = [
        layer
        for layer in backbone._flatten_layers(include_self=False)
        if layer.name in _LORA_LAYERS and hasattr(layer, "enable_lora")
    ]
    if not found:
        raise ValueError(
            f"model.text.tuning: lora finds no projections of queries and values in {backbone.name!r}: use adapter."
        )
    backbone.trainable = True
    for layer in backbone.layers:
        layer.trainable = False
    for layer in found:
        _open(backbone, layer)
        layer.enable_lora(rank)
        if getattr(layer, "bias", None) is not None:
            layer.bias.trainable = False


def _open(backbone: Any, wanted: Any) -> None:
    """Let `wanted` train: Keras asks each layer around it too, and each of those opens what else it holds."""
    for layer in backbone.layers:
        inner = layer._flatten_layers()
        if any(part is wanted for part in inner):
            layer._trainable = True
            for part in inner:
                if any(one is wanted for one in part._flatten_layers()):
                    part._trainable = True


def _free_top(backbone: Any, count: int) -> None:
    found = blocks(backbone)
    if count > len(found):
        raise ValueError(
            f"model.text.size is {count} blocks, and {backbone.name!r} has {len(found)}: lower it, or use full."
        )
    backbone.trainable = True
    for layer in backbone.layers:
        layer.trainable = False
    after = backbone.layers.index(found[-count])
    for layer in backbone.layers[after:]:
        layer.trainable = True


def _with_adapters(backbone: Any, width: int) -> Any:
    """The same layers with an adapter after each pass through a block."""
    inside = {id(block) for block in blocks(backbone)}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        states = layer(*args, **kwargs)
        return BottleneckAdapter(width)(states) if id(layer) in inside else states

    return _rebuilt(backbone, call)


def _with_prefixes(backbone: Any, length: int) -> Any:
    """The same layers with `length` learnt states before those of the text, other ones in each block."""
    found = blocks(backbone)
    kind = type(found[0]).__name__
    if kind not in _PREFIX_BLOCKS:
        raise ValueError(
            f"model.text.tuning: prefix needs blocks of the kind {' or '.join(_PREFIX_BLOCKS)}; {backbone.name!r} has "
            f"{kind}. Use lora or adapter."
        )
    first, last = id(found[0]), id(found[-1])
    inside = {id(block) for block in found}

    def call(layer: Any, states: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) not in inside:
            return layer(states, *args, **kwargs)
        states = DeepPrefix(length, joins=id(layer) == first)(states)
        masks = {name: MaskedPrefix(length)(mask) for name, mask in kwargs.items() if name.endswith("padding_mask")}
        states = layer(states, *args, **{**kwargs, **masks})
        return states[:, length:] if id(layer) == last else states

    return _rebuilt(backbone, call)


def _rebuilt(backbone: Any, call: Callable[..., Any]) -> Any:
    """The functional model with the very same layers, each called through `call`."""
    return keras.models.clone_model(backbone, clone_function=lambda layer: layer, call_function=call)


@keras.saving.register_keras_serializable(package="tfrec")
class BottleneckAdapter(keras.layers.Layer):
    """x + up(gelu(down(x))); `up` starts at zero, so that the model starts as it was."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        """Build the adapter; `width` is that of the bottleneck."""
        super().__init__(**kwargs)
        self.width = width
        self.down = keras.layers.Dense(width, activation="gelu", dtype=self.dtype_policy, name="down")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (N, T, W)."""
        self.up = keras.layers.Dense(input_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy, name="up")
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.width))
        self.built = True

    def call(self, x: Any) -> Any:
        """[N, T, W] -> [N, T, W]; each token by itself."""
        return x + self.up(self.down(x))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="tfrec")
class DeepPrefix(keras.layers.Layer):
    """Puts learnt states before those of a text: joined on in the first block, in place of its outcome later."""

    def __init__(self, length: int, *, joins: bool, **kwargs: Any) -> None:
        """Build the layer.

        Args:
            length: learnt states P.
            joins: whether the states are new here; else the first P of the input give way.
            **kwargs: as for any Keras layer.
        """
        super().__init__(**kwargs)
        self.length, self.joins = length, joins

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights; `input_shape` is (N, T, W)."""
        small = keras.initializers.RandomNormal(stddev=0.02)
        self.prefix = self.add_weight((self.length, input_shape[-1]), initializer=small, name="prefix")
        self.built = True

    def call(self, x: Any) -> Any:
        """[N, T, W] -> [N, P + T, W], or [N, P + T, W] -> [N, P + T, W]."""
        prefix = ops.cast(self.prefix, x.dtype)[None]
        prefix = ops.broadcast_to(prefix, (ops.shape(x)[0], *self.prefix.shape))
        return ops.concatenate([prefix, x if self.joins else x[:, self.length :]], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The text's length grows by P where the states are new."""
        grown = input_shape[1] + self.length if self.joins and input_shape[1] is not None else input_shape[1]
        return (input_shape[0], grown, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "length": self.length, "joins": self.joins}


@keras.saving.register_keras_serializable(package="tfrec")
class MaskedPrefix(keras.layers.Layer):
    """A padding mask [N, T] -> [N, P + T]: the learnt states are always read."""

    def __init__(self, length: int, **kwargs: Any) -> None:
        """Build the layer; `length` is P."""
        super().__init__(**kwargs)
        self.length = length

    def call(self, mask: Any) -> Any:
        """Put P ones before the mask."""
        return ops.pad(mask, [[0, 0], [self.length, 0]], constant_values=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "length": self.length}
