"""`tf.train.Example`s of many users at once, byte by byte as the protobuf library writes them; used by `records`.

Here a message is laid out of segments, each of which is made for all users in one go; see
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_BYTES, _FLOATS, _INTS = 1, 2, 3  # Fields of tf.train.Feature.
_LEAST = np.uint64(1) << (np.uint64(7) * np.arange(1, 10, dtype=np.uint64))  # The least number of 2, 3, ... bytes.

# Bytes end to end, uint8, and how many of them each user has, int64 [users]; and such segments one after the other.
Segment = tuple[np.ndarray, np.ndarray]
Message = list[Segment]


def encoded_examples(
    texts: Mapping[str, list[str]],
    integers: Mapping[str, tuple[np.ndarray, np.ndarray]],
    floats: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """The examples of some users, with the features sorted by name, as a deterministic serialisation has them.

    Args:
        texts: name of a feature -> the one text of each user.
        integers: name -> the values of all users end to end, and where those of each begin, int64 [users + 1].
        floats: likewise, float32.

    Returns:
        The bytes of all examples, uint8, and where each begins, int64 [users + 1].
    """
    lists = {name: (_BYTES, _texts(values)) for name, values in texts.items()}
    lists |= {name: (_INTS, _packed(_varints(values, offsets))) for name, (values, offsets) in integers.items()}
    lists |= {name: (_FLOATS, _packed(_floats(values, offsets))) for name, (values, offsets) in floats.items()}
    users = len(next(iter(texts.values())))
    message: Message = []
    for name in sorted(lists, key=str.encode):
        kind, values = lists[name]
        key = _field(1, [_constant(name.encode(), users)])
        message += _field(1, key + _field(2, _field(kind, values)))
    return _joined(_field(1, message))


def _field(number: int, message: Message) -> Message:
    """A field that holds a message: its tag, its length, the message."""
    sizes = _sizes(message)
    users = len(sizes)
    return [_constant(bytes([number << 3 | 2]), users), _varints(sizes, np.arange(users + 1)), *message]


def _sizes(message: Message) -> np.ndarray:
    return np.sum([sizes for _, sizes in message], axis=0)


def _packed(values: Segment) -> Message:
    """The list of a feature: its numbers, packed in a field; nothing where there are none."""
    some = values[1] > 0
    field = _field(1, [values])
    return field if some.all() else [(content[np.repeat(some, sizes)], sizes * some) for content, sizes in field]


def _texts(values: list[str]) -> Message:
    encoded = [value.encode() for value in values]
    sizes = np.array([len(value) for value in encoded], np.int64)
    return _field(1, [(np.frombuffer(b"".join(encoded), np.uint8), sizes)])


def _constant(content: bytes, users: int) -> Segment:
    return np.tile(np.frombuffer(content, np.uint8), users), np.full(users, len(content))


def _floats(values: np.ndarray, offsets: np.ndarray) -> Segment:
    return np.ascontiguousarray(values, "<f4").view(np.uint8), 4 * np.diff(offsets)


def _varints(values: np.ndarray, offsets: np.ndarray) -> Segment:
    """Numbers of 7 bits a byte, the low ones first; the highest bit of a byte says that another one follows."""
    numbers = values.astype(np.int64).view(np.uint64)
    most = int(numbers.max(initial=0))
    if most < 128:
        return numbers.astype(np.uint8), np.diff(offsets)
    width = 1 + int(np.searchsorted(_LEAST, most, side="right"))
    shifted = numbers[:, None] >> (np.uint64(7) * np.arange(width, dtype=np.uint64))
    digits = shifted.astype(np.uint8)
    held = shifted > 0
    held[:, 0] = True
    digits |= np.uint8(128)
    sizes = held.sum(axis=1, dtype=np.int64)
    digits[np.arange(len(digits)), sizes - 1] &= np.uint8(127)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return digits[held], ends[offsets[1:]] - ends[offsets[:-1]]


def _joined(message: Message) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all users, each user's segments one after the other, and where each user's begin."""
    ends = np.cumsum(_sizes(message))
    offsets = np.concatenate([[0], ends])
    content = np.empty(offsets[-1], np.uint8)
    begin = offsets[:-1].copy()
    for part, sizes in message:
        content[np.arange(len(part)) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)] = part
        begin += sizes
    return content, offsets
