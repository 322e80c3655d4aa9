"""Which operations a version holds, and that any server has them."""

from __future__ import annotations

import ctypes
import functools
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrec.serving.versions import SAVED_MODEL

# Of TensorFlow's operations that do more than compute, those that a model needs: variables and tables, how they are
# read from the version's own files, calls and loops. Every other one (files, queues, data sets, devices that talk to
# one another, functions of a Python process, random numbers) has no business in an answer.
_ALLOWED_STATEFUL = frozenset(
    "Assert AssignVariableOp DisableCopyOnRead HashTableV2 If InitializeTableFromTextFileV2 InitializeTableV2 "
    "LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableSizeV2 "
    "MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd StatefulPartitionedCall VarHandleOp "
    "VarIsInitializedOp VariableShape While".split()
)
# What loading a version runs may read checkpoints too, and what nobody runs, the saving of a loaded one, write them.
_OF_RESTORING = frozenset({"RestoreV2"})
_OF_SAVING = frozenset({"SaveV2", "MergeV2Checkpoints"}) | _OF_RESTORING
# No server can run these: functions of a Python process, code compiled for one device, kernels of one vendor; or they
# reach for what is not the version's.
_FOREIGN = re.compile(
    "PyFunc|^Xla(CallModule|Launch)|^Cudnn|^_Mkl|^TRTEngine|TPU|^(Read|Write)File|^MatchingFiles|Dataset|Iterator|Queue|"
    "Reader|^(In|Out)feed|^Nccl|^Collective|^_?(Host)?(Send|Recv)$|Summary|^Print"
)


def check(folder: Path, *, text: bool) -> None:
    """Refuse a version that a server could not run, or that does more than answer.

    Args:
        folder: the version.
        text: whether it is a text model, which may hold the operations of tensorflow-text: TF Serving has them.

    Raises:
        ValueError: it holds others than TensorFlow's own, or such as an answer has no use for.
        ImportError: a text model is checked where tensorflow-text is not installed.
    """
    of_words, registered = of_text() if text else set(), stateful()
    foreign = {
        name
        for part, allowed in parts(folder)
        for name in part
        if name not in of_words
        and (
            _FOREIGN.search(name)
            or not hasattr(tf.raw_ops, name)
            or (registered.get(name, True) and name not in allowed)
        )
    }
    if foreign:
        raise ValueError(f"{folder} holds operations that a server may lack: {', '.join(sorted(foreign))}.")


def parts(folder: Path) -> Iterator[tuple[set[str], frozenset[str]]]:
    """The operations of a version's parts, functions within functions included, and the stateful ones they may have.

    What signatures and tables run may not touch files; restoring, which a server runs at loading, reads some; saving,
    which nobody runs, writes. Functions that nobody calls count as the first.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes())
    for meta in model.meta_graphs:
        functions = {one.signature.name: one.node_def for one in meta.graph_def.library.function}
        saver = {meta.saver_def.save_tensor_name: _OF_SAVING, meta.saver_def.restore_op_name: _OF_RESTORING}
        apart = {name.partition(":")[0]: allowed for name, allowed in saver.items() if name}
        fed = {name.lstrip("^").partition(":")[0] for node in meta.graph_def.node for name in node.input}
        fetched = {one.name.partition(":")[0] for each in meta.signature_def.values() for one in each.outputs.values()}
        nodes, inside = [], set()
        for node in meta.graph_def.node:
            if node.name not in apart or node.name in fed | fetched:
                nodes.append(node)
                continue
            names, called = _reached([node], functions)
            inside |= called
            yield names, _ALLOWED_STATEFUL | apart[node.name]
        names, called = _reached(nodes, functions)
        yield names, _ALLOWED_STATEFUL
        for name in functions.keys() - inside - called:
            yield {node.op for node in functions[name]} - functions.keys(), _ALLOWED_STATEFUL


def _reached(nodes: Iterable[Any], functions: Mapping[str, Iterable[Any]]) -> tuple[set[str], set[str]]:
    """The operations of some nodes and of all functions that they call, and the names of these functions."""
    names: set[str] = set()
    called: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        lists = [[value.func, *value.list.func] for value in node.attr.values()]
        names |= {node.op} - functions.keys()
        for name in ({node.op} | {function.name for each in lists for function in each}) & functions.keys() - called:
            called.add(name)
            waiting += functions[name]
    return names, called


class _Buffer(ctypes.Structure):
    """`TF_Buffer` of TensorFlow's C API."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


def stateful() -> dict[str, bool]:
    """Each operation that this process has -> whether it does more than compute its outputs.

    A version says that of its own operations too, and not of every one in a function within a function.
    """
    from tensorflow.core.framework import op_def_pb2

    library = min(Path(tf.sysconfig.get_lib()).glob("libtensorflow_cc.*"))
    interface = ctypes.CDLL(str(library))
    pointer = ctypes.POINTER(_Buffer)
    interface.TF_GetAllOpList.argtypes, interface.TF_GetAllOpList.restype = [], pointer
    interface.TF_DeleteBuffer.argtypes, interface.TF_DeleteBuffer.restype = [pointer], None
    buffer = interface.TF_GetAllOpList()
    try:
        listed = op_def_pb2.OpList.FromString(ctypes.string_at(buffer.contents.data, buffer.contents.length))
    finally:
        interface.TF_DeleteBuffer(buffer)
    return {operation.name: operation.is_stateful for operation in listed.op}


@functools.cache
def of_text() -> set[str]:
    """The names of the operations that the libraries of tensorflow-text register.

    Raises:
        ImportError: the package is missing.
    """
    wrappers = [tf.load_op_library(str(library)) for library in text_libraries()]
    functions = [name for wrapper in wrappers for name, value in vars(wrapper).items() if inspect.isfunction(value)]
    named = {name for name in functions if name[:1].isupper()}  # Beside each, its wrapper in lower case.
    return named | {name.replace("_", ">", 1) for name in named}  # A graph writes TFText>X, and Python TFText_X.


def text_libraries() -> list[Path]:
    """The libraries of tensorflow-text that register operations.

    Raises:
        ImportError: the package is missing.
    """
    import tensorflow_text

    return sorted((Path(tensorflow_text.__file__).parent / "python").rglob("_*.so"))
