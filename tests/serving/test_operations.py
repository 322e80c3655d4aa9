"""The operations of a version: TensorFlow's own, of a text model those of tensorflow-text too, and no others."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfrec.serving import operations
from tfrec.serving.versions import SAVED_MODEL


def graph_of(folder, *ops):
    """A version with the first operation in its graph and the others in functions that each call the next."""
    model = saved_model_pb2.SavedModel()
    graph = model.meta_graphs.add().graph_def
    node = graph.node.add(name="a", op=ops[0])
    for place, name in enumerate(ops[1:]):
        node.attr["f"].func.name = f"f{place}"
        function = graph.library.function.add()
        function.signature.name = f"f{place}"
        node = function.node_def.add(name="b", op=name)
    (folder / SAVED_MODEL).write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    "foreign",
    [
        "Addons>Something", "PyFunc", "CudnnRNNV3", "_MklMatMul", "ScannSearch", "ReadFile", "WriteFile",
        "RandomUniform", "OutfeedEnqueue", "IteratorGetNext", "SaveV2", "SaveSlices", "RestoreV2",
    ],
)  # fmt: skip
def test_what_no_server_has_is_refused_of_either_model(tmp_path, text, foreign):
    operations.check(graph_of(tmp_path, "MatMul", "LookupTableFindV2"), text=text)
    for ops in (("MatMul", foreign), (foreign, "MatMul"), ("MatMul", "TensorListGetItem", foreign)):
        with pytest.raises(ValueError, match=f"operations that a server may lack: {foreign}"):
            operations.check(graph_of(tmp_path, *ops), text=text)


def writing(name):
    """A model whose answer writes: a signature that looks as harmless as any."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def answer(self, path):
            @tf.function
            def inner(value):
                if name == "SaveSlices":
                    tf.raw_ops.SaveSlices(filename=path, tensor_names=["x"], shapes_and_slices=[""], data=[value])
                elif name == "SaveV2":
                    tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[value])
                elif name == "RandomUniform":
                    value += tf.random.uniform([])
                return value

            return {"out": inner(tf.constant(1.0))}

    return Model()


@pytest.mark.parametrize("name", ["SaveSlices", "SaveV2", "RandomUniform"])
def test_a_function_within_a_function_hides_nothing(tmp_path, name):
    """The list of operations that a version carries lacks those, or can be made to."""
    model = writing(name)
    tf.saved_model.save(model, str(tmp_path), signatures=model.answer)
    with pytest.raises(ValueError, match=f"may lack: {name}"):
        operations.check(tmp_path, text=False)


def test_how_a_version_is_saved_is_its_own_affair_until_somebody_runs_it(tmp_path):
    model = writing("nothing")
    model.weight = tf.Variable(1.0)
    tf.saved_model.save(model, str(tmp_path), signatures=model.answer)
    operations.check(tmp_path, text=False)
    found = saved_model_pb2.SavedModel.FromString((tmp_path / SAVED_MODEL).read_bytes())
    meta = found.meta_graphs[0]
    saving = meta.saver_def.save_tensor_name.partition(":")[0]
    meta.signature_def["serving_default"].outputs["out"].name = meta.saver_def.save_tensor_name
    (tmp_path / SAVED_MODEL).write_bytes(found.SerializeToString())
    with pytest.raises(ValueError, match="may lack: MergeV2Checkpoints, SaveV2"):
        operations.check(tmp_path, text=False)
    meta.signature_def["serving_default"].outputs["out"].name = "Identity:0"
    meta.graph_def.node.add(name="after", op="NoOp", input=[f"^{saving}"])
    (tmp_path / SAVED_MODEL).write_bytes(found.SerializeToString())
    with pytest.raises(ValueError, match="may lack: MergeV2Checkpoints, SaveV2"):
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
