"""A log with all that is awkward, what is made of it, and what can be wrong with it; for tests of `prepare`."""

import dataclasses

import numpy as np
import pandas as pd

from tfrec.data import EventColumns, Folds, ItemColumns, Label, PrepareOptions, UserColumns

LITTLE = 5e-5  # GB: some dozens of rows.
USERS = ["007", "7", "u😀", "é", "a b", "A", "a", 'z"q', "x,y", *(f"u{number}" for number in range(30))]
ITEMS = ["01", "1", "🎁", "ü", "I;", *(f"i{number:03d}" for number in range(40))]
LABELS = {"stars": Label("stars", range=(1, 5)), "click": Label("clicked")}
FULL = EventColumns("user_id", "item_id", "timestamp", "position", "event_type", ("device", "extra"), LABELS)


def table(seed, rows=360):
    """Events with ties, repeated rows, missing values, texts of every kind, in no order."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": rng.choice(USERS, rows),
            "item_id": np.array(ITEMS)[rng.zipf(1.4, rows) % len(ITEMS)],
            "timestamp": rng.integers(1_500_000_000, 1_500_000_300, rows),
            "position": rng.integers(0, 50, rows),
            "event_type": rng.choice(["view", "cart", "purchase", ""], rows, p=[0.5, 0.1, 0.35, 0.05]),
            "device": rng.choice(["phone", "desk", "", "NA", "跑"], rows),
            "extra": rng.choice([1, 2, 3, np.nan], rows),
            "stars": rng.choice(["1", "2.5", "5", ""], rows),
            "clicked": rng.choice([0, 1], rows),
            "unmapped": rng.choice([True, False], rows),
        }
    )
    again = frame.iloc[rng.integers(0, rows, rows // 8)]
    return pd.concat([frame, again]).sample(frac=1, random_state=seed, ignore_index=True)


CASES = {
    "last": PrepareOptions(events=EventColumns(timestamp="timestamp")),
    "standard names": PrepareOptions(),
    "everything": PrepareOptions(
        events=FULL, target_events=("purchase",), min_user_events=4, min_item_events=3, max_length=5, seen="keep",
    ),
    "newest": PrepareOptions(
        events=EventColumns(position="position", context=("device",)), windows="newest", candidates="items",
        hold_out_items=("i001", "🎁"), hold_out_validation_items=("i002",), shards=3,
    ),
    "shares": PrepareOptions(
        events=EventColumns("user_id", "item_id", "timestamp", "position", "event_type"), split="time",
        target_events=("purchase", "view"), validation_from="60%", test_from="80%", min_item_events=2,
    ),
    "moments": PrepareOptions(events=FULL, split="time", validation_from=1_500_000_150, test_from=1_500_000_220),
    "folds of events": PrepareOptions(
        events=FULL, target_events=("purchase",), split="folds_events", folds=Folds(4, 1, seed=3)
    ),
    "folds of users": PrepareOptions(events=FULL, target_events=("cart",), split="folds_users", folds=Folds(3, 2)),
}  # fmt: skip
ITEM_TABLE = pd.DataFrame({"item_id": [*ITEMS[:-6], "new"], "title": "T", "price": np.arange(40.0)}).assign(
    tags=["a|b", "b", "c|d", ""] * 10
)
USER_TABLE = pd.DataFrame(
    {"user_id": USERS[:24], "age": ["1", "2", "3"] * 8, "bio": ["Likes it.", "", "Wants it."] * 8}
)

PIPELINE = """\
name: shop
data:
  root: {root}
  events: {{path: log.csv, columns: {{timestamp: timestamp, position: position}}}}
  memory: 0.00005
model: {{text: none}}
"""


def write(frame, path):
    frame.to_parquet(path, row_group_size=70) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TIMES = {
    "the day first, told by one row": lambda seconds: [
        "13.07.2017",
        *(f"{1 + second % 9:02}.{1 + second % 11:02}.2017" for second in seconds[1:]),
    ],
    "ISO": lambda seconds: pd.to_datetime(seconds, unit="s").astype(str),
    "milliseconds, half of which could be seconds": lambda seconds: np.where(
        np.arange(len(seconds)) % 2, seconds + 110 * 10**9, seconds % 300 + 98 * 10**9
    ),
    "some with a fraction": lambda seconds: np.where(seconds % 7, seconds.astype(str), (seconds + 0.25).astype(str)),
    "dates": lambda seconds: pd.to_datetime(seconds, unit="s").dt.tz_localize("Asia/Shanghai"),
}


BAD = {
    "an id is missing": ("user_id", 200, " "),
    "an item is missing": ("item_id", 300, None),
    "a line break": ("item_id", 250, "a\nb"),
    "no time": ("timestamp", 333, "soon"),
    "a time is missing": ("timestamp", 333, None),
    "no number": ("position", 150, "first"),
    "no whole number": ("position", 339, "1.5"),
    "outside the range": ("stars", 222, "7"),
    "neither yes nor no": ("clicked", 350, "2"),
}


def with_tables(options):
    """The options, with columns of the tables of items and users."""
    return dataclasses.replace(
        options,
        items=ItemColumns(categorical={"tags": "|"}, numeric=("price",)),
        users=UserColumns(categorical=("age",), text=("bio",)),
    )


def spoiled(name):
    """A log with two bad rows, far enough apart to be in two pieces."""
    column, row, value = BAD[name]
    frame = table(5).astype(object)
    frame["timestamp"] = pd.to_datetime(frame.timestamp, unit="s").astype(str)
    frame.loc[[row, row + 45], column] = value
    return frame


def told_apart(seed, options):
    """A log whose events the order tells apart; rows that repeat another one are left in it."""
    frame = table(seed).drop_duplicates(ignore_index=True)
    rng = np.random.default_rng(seed)
    if options.events is None or options.events.position:
        frame["position"] = rng.permutation(len(frame))
    else:
        frame["timestamp"] = 1_500_000_000 + rng.permutation(len(frame))
    again = frame.iloc[rng.integers(0, len(frame), len(frame) // 8)]
    return pd.concat([frame, again]).sample(frac=1, random_state=seed, ignore_index=True)
