import numpy as np
import tensorflow as tf

from tests import tiny_shop
from tfrec.data import EventColumns, PrepareOptions, prepare
from tfrec.data.streaming import AHEAD, streamed


def numbers(count, made):
    def play():
        for number in range(count):
            made.append(number)
            yield {"x": np.full(3, number, "int32")}

    return streamed(play, {"x": tf.TensorSpec([None], tf.int32)}, count)


def test_each_pass_is_what_the_generator_yields():
    data = numbers(7, made := [])
    assert len(data) == 7
    for _ in range(2):
        assert [batch["x"].tolist() for batch in data.as_numpy_iterator()] == [[number] * 3 for number in range(7)]
    assert made == [*range(7), *range(7)]


def test_no_more_is_made_than_a_few_batches_ahead():
    batches = iter(numbers(100, made := []))
    for _ in range(5):
        next(batches)
    assert 5 <= len(made) <= 5 + AHEAD + 1


def test_what_is_trained_and_validated_on_waits_for_no_tuning_thread():
    options = PrepareOptions(events=EventColumns("who", "what", "at", event_type="kind"))
    data = prepare(tiny_shop.events(), options=options)
    for batches in (data.train(), data.validation(), data.test()):
        assert batches.options().autotune.enabled is False
