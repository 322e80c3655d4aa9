"""A log of a few dozen users that holds something to learn, and its pipeline, for tests that train."""

from pathlib import Path

import numpy as np
import pandas as pd

USERS, ITEMS, EVENTS = 60, 30, 8

PIPELINE = """\
name: {name}
seed: 3
data:
  root: {folder}
  events: {{path: events.csv, columns: {{user_id: who, item_id: what, timestamp: at, event_type: kind}}}}
  items: {{path: items.csv, item_id: sku, text: [name], categorical: [family]}}
  split: {split}
  max_length: 6
  shards: 2
model:
  {{dim: 8, text: none, behavior: [attention, lstm], attention: {{blocks: 1, heads: 2, expansion: 2}}, dropout: 0.2}}
training:
  {{epochs: {epochs}, patience: 2, tokens_per_batch: 128, warmup_steps: 4, schedule: constant, learning_rate: 0.02}}
evaluation: {{cutoffs: [1, 5, 10], depth: 10}}
export: {{k_max: 10, base_path: {folder}/saved_models}}
"""


def events(seed: int = 0) -> pd.DataFrame:
    """who, what, at, kind: an item is mostly followed by the next one; the last user has one event."""
    rng = np.random.default_rng(seed)
    first = rng.integers(ITEMS, size=(USERS, 1))
    steps = np.where(rng.random((USERS, EVENTS)) < 0.7, 1, rng.integers(1, ITEMS, (USERS, EVENTS)))
    what = (first + np.cumsum(steps, axis=1)) % ITEMS
    at = 1_700_000_000 + np.cumsum(rng.integers(60, 90_000, (USERS, EVENTS)), axis=1)
    log = pd.DataFrame(
        {
            "who": np.repeat([f"{user:03d}" for user in range(USERS)], EVENTS),
            "what": [f"{item:03d}" for item in what.ravel()],
            "at": at.ravel(),
            "kind": rng.choice(["view", "buy"], what.size),
        }
    )
    return pd.concat([log[log.who != f"{USERS - 1:03d}"], log.tail(1)], ignore_index=True)


def items() -> pd.DataFrame:
    """sku, name, family: titles in three scripts, an empty one, and an item that nobody has had."""
    names = [f"Thing {item}" for item in range(ITEMS + 1)]
    names[3], names[4], names[5] = "跑步鞋", "🎁 box", ""
    families = [f"family {item % 4}" for item in range(ITEMS + 1)]
    return pd.DataFrame({"sku": [f"{item:03d}" for item in range(ITEMS + 1)], "name": names, "family": families})


def write(folder: Path, *, name: str = "tiny", split: str = "leave_last", epochs: int = 4) -> Path:
    """Write tables and pipeline to a folder; the pipeline's file."""
    folder.mkdir(parents=True, exist_ok=True)
    events().to_csv(folder / "events.csv", index=False)
    items().to_csv(folder / "items.csv", index=False)
    path = folder / f"{name}.yaml"
    path.write_text(PIPELINE.format(name=name, folder=folder, split=split, epochs=epochs), encoding="utf-8")
    return path
