"""Examples laid out at once are those that the protobuf library writes one by one."""

import numpy as np
import pytest
from tensorflow.core.example import example_pb2

from tfrec.data.example_encoding import encoded_examples


def one_by_one(texts, integers, floats, users):
    for user in range(users):
        example = example_pb2.Example()
        feature = example.features.feature
        for name, values in texts.items():
            feature[name].bytes_list.value.append(values[user].encode())
        for name, (values, offsets) in integers.items():
            feature[name].int64_list.value.extend(values[offsets[user] : offsets[user + 1]].astype(np.int64).tolist())
        for name, (values, offsets) in floats.items():
            feature[name].float_list.value.extend(values[offsets[user] : offsets[user + 1]].tolist())
        yield example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_are_those_of_the_library(seed):
    rng = np.random.default_rng(seed)
    users = 30
    sizes = rng.integers(seed > 1, 60, users)
    sizes[3] = 40_000 if seed == 3 else sizes[3]  # A length of three bytes.
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    events = offsets[-1]
    texts = {"user_id": ["", "007", "鞋", "x" * 300, *(f"u{user}" for user in range(users - 4))]}
    wide = rng.integers(-(2**63), 2**63 - 1, events) >> rng.integers(0, 63, events)
    edges = np.array([0, 1, 127, 128, 2**14 - 1, 2**14, 2**31, 2**63 - 1, -1, -(2**63)])
    wide[: min(10, events)] = edges[: min(10, events)]
    each = np.arange(users + 1)
    integers = {
        "rows": (rng.integers(0, 100_000, events).astype(np.int32), offsets),
        "is_target": (rng.random(events) < 0.5, offsets),
        "event/wide": (wide, offsets),
        "trains": (rng.random(users) < 0.5, each),
        "Event": (rng.integers(0, 9, users), each),
    }
    floats = {"label/ü": (np.where(rng.random(events) < 0.3, np.nan, rng.random(events)).astype(np.float32), offsets)}
    content, begins = encoded_examples(texts, integers, floats)
    whole = content.tobytes()
    found = [whole[begins[user] : begins[user + 1]] for user in range(users)]
    assert found == list(one_by_one(texts, integers, floats, users))


@pytest.mark.parametrize(
    "value", [2 ** (7 * size) - step for size in range(1, 10) for step in (0, 1) if size < 9 or step]
)
def test_a_number_has_as_many_bytes_as_it_needs(value):
    integers = {"n": (np.array([value]), np.array([0, 1]))}
    content, _ = encoded_examples({"user_id": ["a"]}, integers, {})
    assert [content.tobytes()] == list(one_by_one({"user_id": ["a"]}, integers, {}, 1))
