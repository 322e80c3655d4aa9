"""How long a ranker takes to judge candidates: one request at a time on one core, after warm-up.

python benchmarks/ranker_latency.py MODEL                      an exported or published ranker
python benchmarks/ranker_latency.py defaults [ENCODER ...]     one of the default settings (or with these encoders, such
                                                               as lstm), untrained: weights do not change the time
python benchmarks/ranker_latency.py words                      the same with `word_attention`, told a text of 16 words

Each request is of one user: 200 drawn events, of which the model reads as many as it was trained to, and 200 drawn
candidates. It is asked as `tfrec serve` asks it, without the network: a session with one thread. The processor's time
is what the wall clock shows where no other work shares the core.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tfrec.data import Dataset

EVENTS, CANDIDATES, REQUESTS, WARM = 200, 200, 100, 20
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
ITEMS, USERS, WORDS = 2000, 8, 16


def milliseconds(
    version: Path,
    requests: int = REQUESTS,
    clock: Callable[[], float] = time.perf_counter,
    told: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """What each request to a version took by a clock of seconds, float [requests]; `told` is what else it is told."""
    from tfrec.serving import manifest
    from tfrec.serving.server.loaded import LoadedVersion

    ids = pd.read_parquet(version / manifest.ITEMS)["item_id"].to_numpy(object)
    rng, took = np.random.default_rng(0), []
    loaded = LoadedVersion("ranker", 1, version)
    for place in range(WARM + requests):
        request = {
            **(told or {}),
            "history": rng.choice(ids, (1, EVENTS)),
            "candidates": rng.choice(ids, (1, CANDIDATES)),
        }
        start = clock()
        loaded.run("predict_full" if told else "serving_default", request)
        took += [1000 * (clock() - start)] if place >= WARM else []
    loaded.close()
    return np.array(took)


def exported_defaults(folder: Path, *encoders: str) -> Path:
    """A version of an untrained ranker of the default settings, or with other sequence encoders."""
    import tfrec
    from tfrec import build, config

    behavior, data = {"behavior": encoders} if encoders else {}, made_up()
    model = build.ranker(data, config.Model(text=config.Text(source="none"), **behavior), seed=1)
    return tfrec.export(model, data, folder)


def exported_words(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A version that reads words of MiniLM besides, and what it is told: a user's text of as many words."""
    import tfrec
    from tfrec import build, config

    data, settings = made_up(), config.Model(text=config.Text(source="minilm"))
    interactions = ("target_attention", "word_attention", "mlp")
    model = build.ranker(data, settings, interactions=interactions, words=WORDS, seed=1)
    encoder = build.text_encoder(settings.text)
    assert encoder is not None
    told = {"user_text": encoder.embed(["news " * WORDS]), "user_words": encoder.words(["news " * WORDS], WORDS)}
    return tfrec.export(model, data, folder), {name: values.astype("float32") for name, values in told.items()}


def made_up() -> Dataset:
    """A log of clicks; items and users have texts of more words than are read."""
    from tfrec.data import EventColumns, ItemColumns, Label, PrepareOptions, UserColumns, prepare

    rng = np.random.default_rng(0)
    events = pd.DataFrame(
        {
            "user_id": np.repeat([f"u{user}" for user in range(USERS)], EVENTS + 10),
            "item_id": [f"i{item}" for item in rng.integers(0, ITEMS, USERS * (EVENTS + 10))],
            "position": np.tile(np.arange(EVENTS + 10), USERS),
            "clicked": rng.integers(0, 2, USERS * (EVENTS + 10)),
        }
    )
    things, people = ([f"{kind}{place}" for place in range(count)] for kind, count in (("i", ITEMS), ("u", USERS)))
    items = pd.DataFrame({"item_id": things, "title": [f"{one} " + "old film " * WORDS for one in things]})
    users = pd.DataFrame({"user_id": people, "bio": [f"{one} " + "old film " * WORDS for one in people]})
    options = PrepareOptions(
        events=EventColumns(position="position", labels={"click": Label("clicked")}),
        items=ItemColumns(text=("title",)),
        users=UserColumns(text=("bio",)),
        max_length=EVENTS,
    )
    return prepare(events, items, users, options=options)


def main(words: list[str]) -> None:
    """Measure and print a table."""
    if not words or (len(words) > 1 and words[0] != "defaults"):
        sys.exit(__doc__)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        told: Mapping[str, np.ndarray] = {}
        if words[0] == "defaults":
            version = exported_defaults(Path(folder), *words[1:])
        elif words[0] == "words":
            version, told = exported_words(Path(folder))
        else:
            from tfrec.serving.opening import find

            version = find(words[0])
        took = {name: milliseconds(version, clock=clock, told=told) for name, clock in CLOCKS.items()}
    title = f"{CANDIDATES} candidates on {EVENTS} events, {REQUESTS} requests, one thread on one core"
    table = Table("clock", "median ms", "95th percentile ms", "largest ms", title=title)
    for name, each in took.items():
        table.add_row(name, *(f"{np.quantile(each, share):.1f}" for share in (0.5, 0.95, 1.0)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
