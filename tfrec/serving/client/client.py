"""Typed questions to a served model, by gRPC or REST; the last room of the flow, outside the server's process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrec.features import HISTORY, ITEM_ID, TEXT
from tfrec.serving import names
from tfrec.serving.client import unknown
from tfrec.serving.client.patience import patiently
from tfrec.serving.client.titles import Titles
from tfrec.serving.client.transports import GrpcTransport, RestTransport, Target, Transport
from tfrec.serving.versions import TEXT_SUFFIX

logger = logging.getLogger(__name__)

ROWS_A_REQUEST, BYTES_A_REQUEST = 256, 2**20
REQUESTS_AT_A_TIME = 4
SCHEMES = ("grpc", "grpcs", "http", "https")


@dataclass(frozen=True)
class Recommendation:
    """One recommended item.

    Attributes:
        item_id: its id.
        score: the model's; larger is better, and comparable within one answer.
        title: "" where the client knows none.
    """

    item_id: str
    score: float
    title: str = ""


class Client:
    """Asks a model that TensorFlow Serving, or `tfrec serve`, serves.

    What passes (the server starts, swaps or is busy) is tried again with growing pauses, within one time limit for all
    tries. Many rows are sent as several requests, some of them at a time. One client may be used by many threads.

        with tfrec.Client("localhost:8500", "shop", titles="saved_models/shop") as client:
            for item in client.recommend([["007", "i12"]], k=5)[0]:
                print(item.item_id, item.title, item.score)
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        token: str | None = None,
        certificate: str | Path | None = None,
        titles: str | Path | None = None,
        seconds: float = 10.0,
    ) -> None:
        """Connect when first asked.

        Args:
            address: `host:port` or `grpc://host:port`, `grpcs://` with TLS, `http://` or `https://` for REST.
            model: its name on the server.
            version: a number; None for the one of `label`, or else the one that the server chooses.
            label: such as `stable`.
            token: for a server that asks for one.
            certificate: PEM file of who signed the server's certificate, for `grpcs` and `https`.
            titles: where the items' titles are: the model's folder of versions, one version, or a Parquet table.
            seconds: for one call of a method for each of its requests, tries and pauses included.

        Raises:
            ValueError: the address has another form, or an argument is out of its range.
            FileNotFoundError: a file is missing.
        """
        if version is not None and label is not None:
            raise ValueError(f"Give `version` or `label`, not both; received {version!r} and {label!r}.")
        if not seconds > 0:
            raise ValueError(f"`seconds` must be above 0; received {seconds!r}.")
        self._target, self._seconds = Target(model, version, label), seconds
        self._titles = Titles(titles)
        self._transport = _transport(address, token, None if certificate is None else Path(certificate))
        self._filtering: set[str] | None = None
        self._pool = ThreadPoolExecutor(REQUESTS_AT_A_TIME, "tfrec-client")

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        texts: Sequence[str] | None = None,
        **lists: Sequence[Sequence[str]],
    ) -> list[list[Recommendation]]:
        """The best next items of each history.

        Args:
            histories: item ids, oldest first; any lengths, none included. Unknown ids are left out, and a history
                of nothing else is answered as an empty one: the log says so, and names them where `titles` are there.
            k: items of an answer; fewer where fewer are left, or where the model answers fewer.
            texts: a text beside each history, for a model that was exported with its text model.
            **lists: `allow_items`, `deny_items` (ids), `allow_categories`, `deny_categories` (`column=value`): a list a
                history, an empty one filters nothing. Not beside `texts`.

        Returns:
            A list for each history, best first.

        Raises:
            ValueError: an argument is wrong.
            ServerError: the server refuses, or does not answer.
        """
        rows = _rows("histories", histories)
        target = self._target
        if texts is not None:
            if lists:
                raise ValueError(f"`texts` and {', '.join(lists)} cannot be combined: the text model has no filters.")
            if isinstance(texts, str) or len(texts) != len(rows):
                raise ValueError(
                    f"`texts` must be a list of {len(rows)} texts, one a history; received {texts!r:.100}."
                )
            target = Target(target.model + TEXT_SUFFIX, target.version, target.label)
            inputs = {HISTORY: _lines(rows), TEXT: _strings(texts)}
            return self._recommended(target, names.RECOMMEND_DELIMITED, inputs, k, rows)
        if lists:
            return self._recommended(target, names.FILTERED_DELIMITED, self._filters(rows, lists), k, rows)
        return self._recommended(target, names.RECOMMEND_DELIMITED, {HISTORY: _lines(rows)}, k, rows)

    def similar(self, items: Sequence[str], k: int = 10) -> list[list[Recommendation]]:
        """What is nearest to each item by cosine, without the item; nothing for an unknown one."""
        inputs = {ITEM_ID: _strings(_ids("items", items))}
        return self._recommended(self._target, names.SIMILAR_ITEMS, inputs, k, [])

    def embed_queries(self, histories: Sequence[Sequence[str]]) -> np.ndarray:
        """float32 [N, D]: the vector of each history; its product with an item's is the score."""
        inputs = {HISTORY: _lines(_rows("histories", histories))}
        found = [outputs for _, outputs in self._ask(self._target, names.EMBED_QUERY_DELIMITED, inputs)]
        return np.concatenate([each[names.VECTOR] for each in found]) if found else np.zeros((0, 0), np.float32)

    def embed_items(self, items: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] the vector of each item, zeros where it is unknown, and bool [N] whether it is known."""
        inputs = {ITEM_ID: _strings(_ids("items", items))}
        found = [outputs for _, outputs in self._ask(self._target, names.EMBED_ITEM, inputs)]
        if not found:
            return np.zeros((0, 0), np.float32), np.zeros(0, bool)
        vectors, known = (np.concatenate([each[name] for each in found]) for name in (names.VECTOR, names.KNOWN))
        return vectors, known.astype(bool)

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of any signature in one request, strings as `bytes`."""
        return dict(self._once(self._target, signature, inputs)[1])

    def states(self) -> dict[int, str]:
        """Version -> state on the server, such as `AVAILABLE`."""
        return patiently(lambda left: self._transport.states(self._target, left), self._seconds)

    def close(self) -> None:
        """Close the connection."""
        self._pool.shutdown()
        self._transport.close()

    def __enter__(self) -> Client:
        """The client itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connection."""
        self.close()

    def _filters(self, rows: list[list[str]], lists: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The inputs of the filtering signature; those that it has and nobody gave are empty."""
        given = {name: _filter(name, values, len(rows)) for name, values in lists.items()}
        if self._filtering is None:
            self._filtering = patiently(
                lambda left: self._transport.inputs(self._target, names.FILTERED_DELIMITED, left), self._seconds
            )
        for name in set(given) - self._filtering:
            raise ValueError(f"{name}: the items of {self._target.model} have no categories to filter by.")
        tables = {HISTORY: rows, **given}
        return {name: _lines(tables.get(name, [[] for _ in rows])) for name in self._filtering}

    def _recommended(
        self, target: Target, signature: str, inputs: Mapping[str, np.ndarray], k: int, rows: Sequence[Sequence[str]]
    ) -> list[list[Recommendation]]:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"`k` must be a whole number of at least 1; received {k!r}.")
        found: list[list[Recommendation]] = []
        for version, outputs in self._ask(target, signature, inputs):
            titles = self._titles.of(version)
            if titles is not None and not found:
                unknown.warn_by_titles(rows, titles)
            elif titles is None and names.KNOWN_EVENTS in outputs:
                unknown.warn_by_counts(rows[len(found) :], outputs[names.KNOWN_EVENTS])
            ids, scores = outputs[names.ITEM_IDS], outputs[names.SCORES]
            if k > ids.shape[1] and not found:
                logger.warning("k is %d, and an answer of this model holds %d items", k, ids.shape[1])
            found += [_typed(row, values, k, titles or {}) for row, values in zip(ids, scores, strict=True)]
        return found

    def _ask(
        self, target: Target, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[int | None, Mapping[str, np.ndarray]]]:
        """The outputs, a part of the rows after the other."""
        return self._pool.map(lambda part: self._once(target, signature, part), _parts(inputs))

    def _once(
        self, target: Target, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> tuple[int | None, Mapping[str, np.ndarray]]:
        def ask(left: float) -> tuple[int | None, Mapping[str, np.ndarray]]:
            return self._transport.predict(target, signature, inputs, left)

        return patiently(ask, self._seconds)


def _parts(inputs: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The rows in parts that a request holds; a row that is larger than a request should be goes alone."""
    sizes = np.sum([[len(text) for text in values] for values in inputs.values()], axis=0, dtype=int)
    start = size = 0
    for row, more in enumerate(sizes):
        if row > start and (row - start == ROWS_A_REQUEST or size + more > BYTES_A_REQUEST):
            yield {name: values[start:row] for name, values in inputs.items()}
            start, size = row, 0
        size += int(more)
    if len(sizes) > start:
        yield {name: values[start:] for name, values in inputs.items()}


def _transport(address: str, token: str | None, certificate: Path | None) -> Transport:
    scheme, there, rest = address.rpartition("://")
    scheme = scheme if there else "grpc"
    if scheme not in SCHEMES or not rest or (scheme.startswith("grpc") and "/" in rest):
        raise ValueError(f"`address` must be host:port, or begin with {', '.join(SCHEMES)}://; received {address!r}.")
    if certificate is not None and not certificate.is_file():
        raise FileNotFoundError(f"There is no certificate {certificate}.")
    if scheme.startswith("grpc"):
        return GrpcTransport(rest, token, certificate, secure=scheme == "grpcs")
    return RestTransport(address, token, certificate)


def _rows(name: str, rows: Any) -> list[list[str]]:
    if isinstance(rows, (str, bytes)):
        raise ValueError(f"`{name}` must be a list of lists of item ids; received {rows!r:.100}.")
    return [_ids(name, row) for row in rows]


def _ids(name: str, row: Any) -> list[str]:
    if isinstance(row, (str, bytes)):
        raise ValueError(f"`{name}`: {row!r:.100} stands where a list of ids is expected.")
    found = [str(each) for each in row]
    for each in found:
        if names.DELIMITER in each:
            raise ValueError(f"`{name}`: {each!r:.100} has a line break, which no id has.")
    return found


def _filter(name: str, values: Any, count: int) -> list[list[str]]:
    known = (names.ALLOW_ITEMS, names.DENY_ITEMS, names.ALLOW_CATEGORIES, names.DENY_CATEGORIES)
    if name not in known:
        raise ValueError(f"There is no list {name!r}; there are {', '.join(known)}.")
    rows = _rows(name, values)
    if len(rows) != count:
        raise ValueError(f"`{name}` must have {count} lists, one a history; received {len(rows)}.")
    return rows


def _strings(values: Sequence[str]) -> np.ndarray:
    """Object [N] of UTF-8; half a surrogate pair becomes "?"."""
    return np.array([*(value.encode("utf-8", "replace") for value in values), None], object)[:-1]


def _lines(rows: Sequence[Sequence[str]]) -> np.ndarray:
    """Object [N]: each row as the delimited signatures take it, so that rows of any lengths fit one request."""
    return _strings([names.DELIMITER.join(row) for row in rows])


def _typed(ids: np.ndarray, scores: np.ndarray, k: int, titles: Mapping[str, str]) -> list[Recommendation]:
    found = [(item.decode(), float(score)) for item, score in zip(ids[:k], scores[:k], strict=True) if item]
    return [Recommendation(item, score, titles.get(item, "")) for item, score in found]
