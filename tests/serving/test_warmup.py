"""What a server warms up with: requests of every signature that the version answers."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving import words
from tests.serving.conftest import make_data
from tfrec.serving.session import load_text_ops, open_session
from tfrec.serving.text_exporter import export_text


def logged(folder):
    """(signature, inputs) of each request of a version, as TensorFlow Serving reads them."""
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def check_answers(folder, least):
    requests = list(logged(folder))
    with open_session(folder) as bundle:
        assert {name for name, _ in requests} >= set(bundle.signatures) and len(requests) <= 1000
        for name, inputs in requests:
            assert set(inputs) == set(bundle.signatures[name]["inputs"])
            for output in bundle.run(name, inputs).values():
                assert len(output) == 1  # One user, or one item: nothing else is asked of a model that is not warm.
    histories = [inputs["history"] for name, inputs in requests if name == "serving_default"]
    assert {history.shape[1] for history in histories} >= least
    return requests


def test_every_signature_of_a_model_is_warmed_up(exported):
    requests = check_answers(exported, {0})
    longest = max(inputs["history"].shape[1] for name, inputs in requests if name == "serving_default")
    assert longest > 1


def test_the_text_model_too(tmp_path):
    text = words.bert()
    load_text_ops()
    folder = export_text(words.two_tower(text), make_data(), words.encoder(text), tmp_path / "shop_text")
    assert [inputs for name, inputs in check_answers(folder, {0}) if name == "embed_text"]


@pytest.mark.parametrize("values", [np.array([["007", "商品"]], object), np.zeros((1, 0), object)])
def test_ids_of_any_script_go_through(tmp_path, values):
    from tfrec.serving import warmup

    (tmp_path / "assets.extra").mkdir()
    warmup.write(tmp_path / "assets.extra", [("serving_default", {"history": values})])
    ((name, inputs),) = logged(tmp_path)
    assert name == "serving_default" and inputs["history"].shape == values.shape
    assert [item.decode() for item in inputs["history"].ravel()] == values.ravel().tolist()
