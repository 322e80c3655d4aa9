"""What the two ports answer, against the model itself and against TF Serving's documented forms."""

import base64

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, get_model_status_pb2

from tests.serving.conftest import K_MAX
from tests.serving.server.conftest import NAME
from tfrec.serving import load

HISTORIES = [["007", "商品"], ["🎬", "a,b"]]


@pytest.fixture(scope="module")
def expected(published):
    """Ids and scores of `HISTORIES` by the exported model in Python."""
    table = load(published / NAME).recommend(HISTORIES, K_MAX)
    return [(part.item_id.tolist(), part.score.to_numpy()) for _, part in table.groupby("row", sort=True)]


def columns(history=HISTORIES):
    return {"history": np.array(history, object)}


def assert_same(ids, scores, expected):
    for row, (known, values) in enumerate(expected):
        assert list(ids[row]) == known
        np.testing.assert_allclose(np.array(scores[row]), values, rtol=1e-5, atol=1e-5)


def test_grpc_answers_as_the_model_does(running, expected):
    outputs = running.predict(columns())
    assert_same([[item.decode() for item in row] for row in outputs["item_ids"]], outputs["scores"], expected)


def test_rest_answers_rows_and_columns(running, expected):
    status, rows = running.post(f"/v1/models/{NAME}:predict", {"instances": HISTORIES})
    assert status == 200 and set(rows) == {"predictions"}
    assert_same(
        [row["item_ids"] for row in rows["predictions"]], [row["scores"] for row in rows["predictions"]], expected
    )
    named = [{"history": row} for row in HISTORIES]
    assert running.post(f"/v1/models/{NAME}/versions/1:predict", {"instances": named})[1] == rows
    status, found = running.post(f"/v1/models/{NAME}/labels/stable:predict", {"inputs": {"history": HISTORIES}})
    assert status == 200 and set(found) == {"outputs"}
    assert_same(found["outputs"]["item_ids"], found["outputs"]["scores"], expected)
    assert running.post(f"/v1/models/{NAME}:predict", {"inputs": HISTORIES})[1] == found


def test_base64_is_the_same_text(running):
    coded = [[{"b64": base64.b64encode(item.encode()).decode()} for item in row] for row in HISTORIES]
    path = f"/v1/models/{NAME}:predict"
    assert running.post(path, {"instances": coded}) == running.post(path, {"instances": HISTORIES})


def test_every_signature_is_reached(running):
    similar = running.predict({"item_id": np.array(["007", "nope"], object)}, "similar_items")
    assert similar["item_ids"][0][0] != b"" and set(similar["item_ids"][1]) == {b""}
    body = {"signature_name": "embed_item", "inputs": {"item_id": ["007", "nope"]}}
    assert running.post(f"/v1/models/{NAME}:predict", body)[1]["outputs"]["known"] == [1, 0]
    delimited = {"signature_name": "recommend_delimited", "instances": ["007\n商品", "🎬"]}
    assert len(running.post(f"/v1/models/{NAME}:predict", delimited)[1]["predictions"]) == 2


def test_all_items_filtered_out_is_nothing_and_marked(running):
    none = {"allow_items": np.array([["nope"]], object), "deny_items": np.array([[""]], object)}
    outputs = running.predict({"history": np.array([["007"]], object), **none}, "recommend_filtered")
    assert set(outputs["item_ids"][0]) == {b""} and (outputs["scores"] == -1e9).all()


def test_a_history_of_unknown_ids_is_an_empty_one(running):
    unknown, empty = (running.predict(columns([row])) for row in (["nope", "no"], ["", ""]))
    assert unknown["item_ids"].tolist() == empty["item_ids"].tolist()
    assert unknown["known_events"].tolist() == empty["known_events"].tolist() == [0]
    body = {"instances": [["007", "nope", "007"]]}
    assert running.post(f"/v1/models/{NAME}:predict", body)[1]["predictions"][0]["known_events"] == 2


def test_which_version_answered_and_which_outputs(running):
    outputs = running.predict(columns(), label="stable", outputs=["scores"])
    assert set(outputs) == {"scores"}
    with pytest.raises(grpc.RpcError, match="duplicate output"):
        running.predict(columns(), outputs=["scores", "scores"])
    with pytest.raises(grpc.RpcError, match="alias not found"):
        running.predict(columns(), outputs=["nope"])


def test_status_and_metadata_are_told_by_both(running):
    status = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (NAME, f"{NAME}/versions/1", f"{NAME}/labels/stable"):
        assert running.get(f"/v1/models/{path}") == (200, {"model_version_status": [status]})
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = NAME
    states = running.models.GetModelStatus(request).model_version_status
    assert [(each.version, each.state) for each in states] == [(1, 30)]
    told = running.get(f"/v1/models/{NAME}/metadata")[1]
    assert told["model_spec"] == {"name": NAME, "signature_name": "", "version": "1"}
    history = told["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["history"]
    assert history["dtype"] == "DT_STRING" and [dim["size"] for dim in history["tensor_shape"]["dim"]] == ["-1", "-1"]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    found = get_model_metadata_pb2.SignatureDefMap()
    running.predictions.GetModelMetadata(request).metadata["signature_def"].Unpack(found)
    assert "similar_items" in found.signature_def


def test_health_and_metrics(running):
    assert running.get("/healthz") == (200, "ok\n") and running.get("/readyz") == (200, "ready\n")
    running.post("/v1/models/made-up-by-a-client:predict", {"instances": [["x"]]})
    page = running.get("/monitoring/prometheus/metrics")[1]
    assert f'tfrec_version{{labels="stable",model="{NAME}",version="1"}} 1.0' in page
    assert 'code="NOT_FOUND"' in page and "made-up" not in page


BODIES = {
    "no JSON": (b"{", "JSON Parse error"),
    "nothing": (b"", "JSON Parse error"),
    "no UTF-8": (b'{"instances": [["\xff"]]}', "JSON Parse error"),
    "deep": (b'{"instances":' + b"[" * 100_000, "nested too deeply"),
    "no object": (b"[]", "not an object"),
    "both": ({"instances": [["a"]], "inputs": [["a"]]}, "one alone"),
    "neither": ({"signature_name": "serving_default"}, "one alone"),
    "no rows": ({"instances": []}, "an entry for each row"),
    "ragged rows": ({"instances": [["a"], ["a", "b"]]}, "differ in size"),
    "ragged columns": ({"inputs": {"history": [["a"], []]}}, "differ in size"),
    "number for text": ({"instances": [[7]]}, "7 is not a string"),
    "null": ({"instances": [[None]]}, "is not a string"),
    "too flat": ({"inputs": {"history": ["a"]}}, "a list is expected"),
    "too deep": ({"inputs": {"history": [[["a"]]]}}, "is not a string"),
    "surrogate": (b'{"instances": [["\\ud800"]]}', "surrogate"),
    "no base 64": ({"instances": [[{"b64": "%"}]]}, "not base 64"),
    "unknown input": ({"inputs": {"histories": [["a"]]}}, "Missing: history. Sent besides: histories"),
    "unknown signature": ({"signature_name": "nope", "instances": [["a"]]}, '"nope" not found'),
    "signature of no text": ({"signature_name": 3, "instances": [["a"]]}, "must be a string"),
    "plain list for two": ({"signature_name": "recommend_filtered", "instances": [["a"]]}, "send objects"),
    "mixed instances": ({"instances": [{"history": ["a"]}, ["a"]]}, "objects and other values"),
    "time of no number": (
        {
            "signature_name": "recommend_full",
            "inputs": {
                "history": [["007"]], "timestamp": [["x"]], "event_type": [["buy"]], "event_my_device": [[""]],
                "user_country": ["US"],
            },
        },
        "x is not int64",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_a_wrong_body_is_told_what_is_wrong(running, what):
    body, message = BODIES[what]
    status, found = running.post(f"/v1/models/{NAME}:predict", body)
    assert (status, set(found)) == (400, {"error"})
    assert message in found["error"]


PATHS = {
    "/v1/models/nope": (404, "Could not find any versions of model nope"),
    f"/v1/models/{NAME}/versions/7": (404, f"Could not find version 7 of model {NAME}"),
    f"/v1/models/{NAME}/versions/99999999999999999999": (400, "Failed to convert version"),
    f"/v1/models/{NAME}/labels/nope": (400, "Unrecognized servable version label: nope"),
    f"/v1/models/{NAME}/versions/7/metadata": (404, f"Servable not found for request: Specific({NAME}, 7)"),
    "/v1/models/nope/metadata": (404, "Servable not found for request: Latest(nope)"),
    "/v2/models": (400, "Malformed request: GET /v2/models"),
    "/": (400, "Malformed request"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_path_is_told_what_is_wrong(running, path):
    status, message = PATHS[path]
    found = running.get(path)
    assert found[0] == status and message in found[1]["error"]


def test_other_methods_are_refused(running):
    body = {"examples": [{}]}
    assert running.post(f"/v1/models/{NAME}:classify", body)[0] == 501
    assert running.post(f"/v1/models/{NAME}:nope", body)[0] == 400
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = NAME
    with pytest.raises(grpc.RpcError) as failure:
        running.predictions.Classify(request)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED


def tensor(dtype=tf.string, shape=(1, 1), values=(b"007",), **fields):
    proto = TensorProto(dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    if values:
        proto.string_val.extend(values)
    return proto


TENSORS = {
    "huge shape of one value": (tensor(shape=(2**20, 2**20)), "INVALID_ARGUMENT", "this server takes"),
    "overflowing shape": (tensor(shape=(2**62, 2**62, 0, 4)), "INVALID_ARGUMENT", "this server takes"),
    "huge sizes beside none": (tensor(shape=(0, 2**20, 2**20, 2**20)), "INVALID_ARGUMENT", "this server takes"),
    "negative size": (tensor(shape=(-1, 1)), "INVALID_ARGUMENT", "no shape of its own"),
    "too many values": (tensor(shape=(1, 2), values=(b"a", b"b", b"c")), "INVALID_ARGUMENT", "has 3 values"),
    "no values": (tensor(values=()), "INVALID_ARGUMENT", "has 0 values"),
    "another type": (tf.make_tensor_proto([[1.0]]), "INVALID_ARGUMENT", "has type float32, expected is string"),
    "no type": (TensorProto(), "INVALID_ARGUMENT", "no model reads"),
    "a type that is none": (TensorProto(dtype=9999), "INVALID_ARGUMENT", "no model reads"),
    "a resource": (TensorProto(dtype=20), "INVALID_ARGUMENT", "no model reads"),
    "another rank": (tf.make_tensor_proto([b"007"]), "INVALID_ARGUMENT", "expected is [-1, -1]"),
    "content of strings": (tensor(values=(), tensor_content=b"xx"), "INVALID_ARGUMENT", "string_val"),
    "no rows": (tensor(shape=(0, 3), values=()), "INVALID_ARGUMENT", "no rows"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_a_wrong_tensor_is_told_what_is_wrong(running, what):
    proto, code, message = TENSORS[what]
    with pytest.raises(grpc.RpcError) as failure:
        running.predict({"history": proto})
    assert failure.value.code().name == code
    assert message in failure.value.details()


def test_bytes_that_are_no_message_are_told(running):
    for method in ("PredictionService/Predict", "ModelService/GetModelStatus"):
        with pytest.raises(grpc.RpcError) as failure:
            running.channel.unary_unary(f"/tensorflow.serving.{method}")(b"\xff\xff\xff", timeout=10)
        assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "The message is no" in failure.value.details()


def test_one_value_fills_a_small_shape(running):
    filled, plain = running.predict({"history": tensor(shape=(2, 3))}), running.predict(columns([["007"] * 3] * 2))
    assert filled["item_ids"].tolist() == plain["item_ids"].tolist()


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"name": "nope"}, "NOT_FOUND"),
        ({"name": ""}, "INVALID_ARGUMENT"),
        ({"version": 7}, "NOT_FOUND"),
        ({"label": "nope"}, "INVALID_ARGUMENT"),
        ({"signature": "nope"}, "FAILED_PRECONDITION"),
    ],
)
def test_a_wrong_model_is_told(running, how, code):
    with pytest.raises(grpc.RpcError) as failure:
        running.predict(columns(), **how)
    assert failure.value.code().name == code


def test_missing_and_extra_inputs_are_named(running):
    with pytest.raises(grpc.RpcError, match="Sent extra: {nope}. Missing but required: {history}"):
        running.predict({"nope": np.array([["a"]], object)})


def test_the_last_value_of_a_tensor_stands_for_those_left_out(running):
    """As in TensorFlow, whose C++ clients shorten tensors so."""
    whole, short = (tf.make_tensor_proto(np.array([["007", "商品", "商品"]], object)) for _ in range(2))
    del short.string_val[2:]
    expected = running.predict({"history": whole})
    assert running.predict({"history": short})["scores"].tolist() == expected["scores"].tolist()
    short.string_val.extend([b"007"] * 3)
    with pytest.raises(grpc.RpcError, match="5 values, and its shape"):
        running.predict({"history": short})
    del short.string_val[:]
    with pytest.raises(grpc.RpcError, match="0 values, and its shape"):
        running.predict({"history": short})


def test_more_rows_than_a_request_may_have_are_not_looked_at(running):
    for body in ({"instances": [[]] * 300_000}, {"inputs": [7] * 300_000}, {"inputs": {"history": [[]] * 300_000}}):
        status, found = running.post(f"/v1/models/{NAME}:predict", body)
        assert status == 400 and "300000 rows; this server takes 1024" in found["error"]


def test_strings_that_are_no_text_are_unknown_ids(running):
    outputs = running.predict({"history": tensor(values=(b"\xff\xfe\x00",))})
    assert outputs["item_ids"][0][0] != b""
