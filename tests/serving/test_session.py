import numpy as np
import pytest
import tensorflow as tf

from tfrec.serving.session import open_session


def test_what_is_computed_beside_a_session_stays_eager(exported):
    with open_session(exported):
        assert tf.executing_eagerly()


def test_an_unknown_signature_is_named(exported):
    with (
        open_session(exported) as bundle,
        pytest.raises(ValueError, match="no signature 'rank'; there are embed_item, .*, recommend_full"),
    ):
        bundle.run("rank", {"history": np.zeros((1, 1), object)})


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables/variables.index", "assets/item_ids.txt"])
def test_a_damaged_bundle_is_one_line(copied, damage):
    (copied / damage).unlink()
    with pytest.raises(ValueError, match="does not load as a SavedModel") as error, open_session(copied):
        pass
    assert "\n" not in str(error.value)


def test_a_truncated_graph_is_one_line(copied):
    whole = (copied / "saved_model.pb").read_bytes()
    (copied / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="does not load"), open_session(copied):
        pass
