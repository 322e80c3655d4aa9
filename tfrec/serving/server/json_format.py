"""Arrays to and from the JSON of REST: row format (`instances`) and column format (`inputs`), as TF Serving has them.

Source: https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from tfrec.serving.server.problems import invalid

_BYTES_SUFFIX = "_bytes"  # Outputs of such a name are sent in base 64.
_SHOWN = 100  # characters of a value in a message
_WHOLE = {np.dtype(kind): (np.iinfo(kind).min, np.iinfo(kind).max) for kind in (np.int32, np.int64)}


class Spec:
    """What a signature takes for one input.

    Attributes:
        dtype: NumPy's, `object` for strings.
        shape: sizes, -1 for any.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, dtype: Any, shape: tuple[int, ...]) -> None:
        """Hold type and shape."""
        self.dtype, self.shape = np.dtype(dtype), shape


def parse(body: bytes) -> dict[str, Any]:
    """The object of a body.

    Raises:
        ProblemError: it is no JSON object.
    """
    try:
        found = json.loads(body)
    except RecursionError:
        raise invalid("JSON Parse error: the document is nested too deeply.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise invalid(f"JSON Parse error: {_cut(error)}") from None
    if not isinstance(found, dict):
        raise invalid("JSON Value: the document is not an object.")
    name = found.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("'signature_name' key must be a string value.")
    if ("instances" in found) == ("inputs" in found):
        raise invalid("One of 'inputs' and 'instances' must be there, and one alone.")
    return found


def read(body: Mapping[str, Any], specs: Mapping[str, Spec], most: int, most_rows: int) -> dict[str, np.ndarray]:
    """The inputs of a request.

    Args:
        body: what `parse` gave.
        specs: what the signature takes.
        most: values that one input may have.
        most_rows: rows that a request may have; more are not looked at.

    Returns:
        Name -> array; whatever stands in `inputs`, known or not, has passed or is refused.

    Raises:
        ProblemError: the values are not of the signature's names, types or ranks, their rows differ in length, or
            they are too many.
    """
    instances = body.get("instances")
    if isinstance(instances, list):
        _check_rows(len(instances), most_rows)
    columns = _columns(instances, specs) if "instances" in body else _named(body["inputs"], specs)
    for values in columns.values():
        if isinstance(values, list):
            _check_rows(len(values), most_rows)
    return {name: _array(values, specs[name], name, most) for name, values in columns.items()}


def write(outputs: Mapping[str, np.ndarray], *, rows: bool) -> bytes:
    """The body of an answer: `predictions`, an entry a row, or `outputs`, an entry an output."""
    plain = {name: _plain(array, name) for name, array in outputs.items()}
    if not rows:
        found = plain if len(plain) > 1 else next(iter(plain.values()))
        return _dumped({"outputs": found})
    if len(plain) == 1:
        return _dumped({"predictions": next(iter(plain.values()))})
    return _dumped({"predictions": [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]})


def problem(message: str) -> bytes:
    """The body of an error."""
    return _dumped({"error": message})


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise invalid(f"The request has {rows} rows; this server takes {most}.")


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _named(inputs: Any, specs: Mapping[str, Spec]) -> dict[str, Any]:
    if len(specs) == 1 and not (isinstance(inputs, dict) and "b64" not in inputs):
        return {next(iter(specs)): inputs}
    if not isinstance(inputs, dict):
        raise invalid("inputs is a plain value/list, but this signature takes more than one input: send an object.")
    _same_names(set(inputs), specs)
    return inputs


def _columns(instances: Any, specs: Mapping[str, Spec]) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise invalid("'instances' must be a list with an entry for each row.")
    first = instances[0]
    if not isinstance(first, dict) or set(first) == {"b64"}:
        if len(specs) != 1:
            raise invalid("instances is a plain list, but this signature takes more than one input: send objects.")
        return {next(iter(specs)): instances}
    columns: dict[str, list[Any]] = {name: [] for name in specs}
    for row in instances:
        if not isinstance(row, dict):
            raise invalid(f"instances holds objects and other values: {_cut(row)}.")
        _same_names(set(row), specs)
        for name, value in row.items():
            columns[name].append(value)
    return columns


def _same_names(given: set[str], specs: Mapping[str, Spec]) -> None:
    if given != set(specs):
        missing, extra = sorted(set(specs) - given), sorted(given - set(specs))
        raise invalid(
            f"The signature takes {', '.join(specs)}. Missing: {', '.join(missing) or 'none'}. "
            f"Sent besides: {_cut(', '.join(extra)) or 'none'}."
        )


def _array(values: Any, spec: Spec, name: str, most: int) -> np.ndarray:
    """The array of nested lists as deep as the spec says."""
    level, shape = [values], []
    for depth in range(len(spec.shape)):
        if not all(type(each) is list for each in level):
            wrong = next(each for each in level if type(each) is not list)
            raise invalid(f"Input {name!r}: {_cut(wrong)} stands where a list is expected, at level {depth}.")
        sizes = {len(each) for each in level}
        if len(sizes) > 1:
            raise invalid(f"Input {name!r}: lists of one level differ in size: {sorted(sizes)[:5]}; fill them up.")
        shape.append(sizes.pop() if sizes else 0)
        level = [each for part in level for each in part]
        if len(level) > most:
            raise invalid(f"Input {name!r} has more values than this server takes: {most}.")
    array = np.empty(len(level), spec.dtype)
    array[:] = _cells(level, spec.dtype, name)
    return array.reshape(shape)


def _cells(values: list[Any], dtype: np.dtype, name: str) -> list[Any]:
    if dtype.kind == "O":
        return [_bytes(value, name) for value in values]
    if dtype.kind == "b":
        return [value if type(value) is bool else _wrong(value, name, "true or false") for value in values]
    if dtype in _WHOLE:
        low, high = _WHOLE[dtype]
        return [
            value if type(value) is int and low <= value <= high else _wrong(value, name, dtype.name)
            for value in values
        ]
    return [_number(value, name) for value in values]


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        _wrong(value, name, "a number")
    try:
        return float(value)
    except OverflowError:
        _wrong(value, name, "a number that fits")


def _bytes(value: Any, name: str) -> bytes:
    if type(value) is str:
        try:
            return value.encode()
        except UnicodeEncodeError:
            _wrong(value, name, "text: it holds half of a surrogate pair")
    if type(value) is dict and set(value) == {"b64"} and type(value["b64"]) is str:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            _wrong(value, name, "base 64")
    _wrong(value, name, "a string")


def _wrong(value: Any, name: str, expected: str) -> NoReturn:
    raise invalid(f"Input {name!r}: {_cut(value)} is not {expected}.")


def _cut(value: Any) -> str:
    """A value as a message shows it."""
    text = str(value) if isinstance(value, (str, int, float, Exception)) else type(value).__name__
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _plain(array: np.ndarray, name: str) -> list[Any]:
    """Nested lists of what JSON has: floats with the digits of their own type, texts, and bytes that are none."""
    if array.dtype == object:
        encode = _base64 if name.endswith(_BYTES_SUFFIX) else _text
        cells: list[Any] = [encode(value) for value in array.ravel()]
    elif array.dtype.kind == "f":
        cells = [float(f"{value:.9g}") for value in array.ravel().tolist()]
    else:
        cells = array.ravel().tolist()
    for size in reversed(array.shape[1:]):
        cells = [cells[at : at + size] for at in range(0, len(cells), size)] if size else []
    if 0 in array.shape[1:]:
        return array.tolist()
    return cells


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return _base64(value)


def _base64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}
