"""Which operations a version holds, and that any server has them."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path

import tensorflow as tf

from tfrec.serving.versions import SAVED_MODEL

# Of TensorFlow's operations that do more than compute, those that a model needs: variables and tables, how they are
# read from the version's own files, calls and loops. Every other one (files, queues, data sets, devices that talk to
# one another, functions of a Python process, random numbers) has no business in an answer.
_ALLOWED_STATEFUL = frozenset(
    "Assert AssignVariableOp DisableCopyOnRead HashTableV2 If InitializeTableFromTextFileV2 InitializeTableV2 "
    "LookupTableExportV2 LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableSizeV2 "
    "MergeV2Checkpoints MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd RestoreV2 SaveV2 "
    "StatefulPartitionedCall VarHandleOp VarIsInitializedOp VariableShape While".split()
)
# No server can run these, whatever a version says of them: functions of a Python process, code compiled for one device,
# kernels of one vendor; or they reach for what is not the version's. A version does not say of every operation in a
# function within a function whether it only computes.
_FOREIGN = re.compile(
    "PyFunc|^Xla(CallModule|Launch)|^Cudnn|^_Mkl|^TRTEngine|TPU|^(Read|Write)File|^MatchingFiles|Dataset|Iterator|Queue|"
    "Reader|^(In|Out)feed|^Nccl|^Collective|^_?(Host)?(Send|Recv)$|Summary|^Print"
)


def used(folder: Path) -> dict[str, bool]:
    """The names of all operations in the graph of a version, those of its functions included.

    Returns:
        Name -> whether the version says of it that it does more than compute its outputs.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL).read_bytes())
    graphs = [meta.graph_def for meta in model.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes = [node for part in graphs for node in part.node] + [node for part in functions for node in part.node_def]
    calls = {function.signature.name for function in functions}
    stateful = {op.name: op.is_stateful for meta in model.meta_graphs for op in meta.meta_info_def.stripped_op_list.op}
    return {name: stateful.get(name, False) for name in {node.op for node in nodes} - calls}


def check(folder: Path, *, text: bool) -> None:
    """Refuse a version that a server could not run.

    Args:
        folder: the version.
        text: whether it is a text model, which may hold the operations of tensorflow-text: TF Serving has them.

    Raises:
        ValueError: it holds others than TensorFlow's own, or such as an answer has no use for.
        ImportError: a text model is checked where tensorflow-text is not installed.
    """
    found, of_words = used(folder), of_text() if text else set()
    foreign = {
        name
        for name, stateful in found.items()
        if name not in of_words
        and (_FOREIGN.search(name) or not hasattr(tf.raw_ops, name) or (stateful and name not in _ALLOWED_STATEFUL))
    }
    if foreign:
        raise ValueError(f"{folder} holds operations that a server may lack: {', '.join(sorted(foreign))}.")


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
