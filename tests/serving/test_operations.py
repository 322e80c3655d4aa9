"""The operations of a version: TensorFlow's own, of a text model those of tensorflow-text too, and no others."""

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tfrec.serving import operations

STATEFUL = ("LookupTableFindV2", "WriteFile", "RandomUniform", "OutfeedEnqueue")


def graph_of(folder, *ops):
    model = saved_model_pb2.SavedModel()
    meta = model.meta_graphs.add()
    for name in ops:
        meta.meta_info_def.stripped_op_list.op.add(name=name, is_stateful=name in STATEFUL)
    graph = meta.graph_def
    for name in ops[:1]:
        graph.node.add(name="a", op=name)
    function = graph.library.function.add()
    for name in ops[1:]:
        function.node_def.add(name="b", op=name)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    "foreign",
    [
        "Addons>Something", "PyFunc", "CudnnRNNV3", "_MklMatMul", "ScannSearch", "ReadFile", "WriteFile",
        "RandomUniform", "OutfeedEnqueue",
    ],
)  # fmt: skip
def test_what_no_server_has_is_refused_of_either_model(tmp_path, text, foreign):
    operations.check(graph_of(tmp_path, "MatMul", "LookupTableFindV2"), text=text)
    for ops in (("MatMul", foreign), (foreign, "MatMul")):
        with pytest.raises(ValueError, match=f"operations that a server may lack: {foreign}"):
            operations.check(graph_of(tmp_path, *ops), text=text)


def test_a_function_within_a_function_hides_no_file(tmp_path):
    """The list of operations that a version carries lacks some of those."""
    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add().graph_def
    for name in ("TensorListGetItem", "WriteFile", "IteratorGetNext"):
        graph.library.function.add().node_def.add(name="a", op=name)
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="may lack: IteratorGetNext, WriteFile"):
        operations.check(tmp_path, text=False)


def test_a_text_model_may_have_those_of_tensorflow_text_by_any_of_their_names(tmp_path):
    ops = (
        "FastWordpieceTokenizeWithOffsets",
        "TFText>RoundRobinTrim",
        "SentencepieceTokenizeOp",
        "RegexSplitWithOffsets",
    )
    operations.check(graph_of(tmp_path, *ops), text=True)
    with pytest.raises(ValueError, match="may lack: FastWordpieceTokenizeWithOffsets, RegexSplitWithOffsets, Sent"):
        operations.check(graph_of(tmp_path, *ops), text=False)
