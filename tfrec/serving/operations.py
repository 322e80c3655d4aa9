"""Which operations a version holds, and that any server has them."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

import tensorflow as tf

from tfrec.serving.versions import SAVED_MODEL

# TensorFlow has them, and yet no server can run them: functions of a Python process, code compiled for one device,
# kernels of one vendor.
_OF_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "XlaCallModule", "XlaLaunch")
_OF_A_VENDOR = ("Cudnn", "_Mkl", "TRTEngine", "TPU")


def used(folder: Path) -> set[str]:
    """The names of all operations in the graph of a version, those of its functions included."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes())
    graphs = [meta.graph_def for meta in model.meta_graphs]
    bodies = [function.node_def for graph in graphs for function in graph.library.function]
    return {node.op for nodes in [*(graph.node for graph in graphs), *bodies] for node in nodes}


def check(folder: Path, *, text: bool) -> None:
    """Refuse a version that a server could not run.

    Args:
        folder: the version.
        text: whether it is a text model, which may hold the operations of tensorflow-text: TF Serving has them.

    Raises:
        ValueError: it holds others than TensorFlow's own.
        ImportError: a text model is checked where tensorflow-text is not installed.
    """
    found = used(folder)
    foreign = {name for name in found if name in _OF_PYTHON or name.startswith(_OF_A_VENDOR)}
    foreign |= found - set(dir(tf.raw_ops)) - (of_text() if text else set())
    if foreign:
        raise ValueError(f"{folder} holds operations that a server may lack: {', '.join(sorted(foreign))}.")


@functools.cache
def of_text() -> set[str]:
    """The names of the operations that the libraries of tensorflow-text register.

    Raises:
        ImportError: the package is missing.
    """
    import tensorflow_text

    libraries = sorted((Path(tensorflow_text.__file__).parent / "python").rglob("_*.so"))
    wrappers = [tf.load_op_library(str(library)) for library in libraries]
    functions = [name for wrapper in wrappers for name, value in vars(wrapper).items() if inspect.isfunction(value)]
    named = {name for name in functions if name[:1].isupper()}  # Beside each, its wrapper in lower case.
    return named | {name.replace("_", ">", 1) for name in named}  # A graph writes TFText>X, and Python TFText_X.
