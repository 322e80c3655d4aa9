"""What a training step and an evaluation take as the catalogue grows; docs/large_catalogues.md has the figures.

    python benchmarks/catalogue.py --output benchmarks/results/large_catalogues.json
    python benchmarks/catalogue.py --page      writes the tables of docs/large_catalogues.md from that record alone

Users and items are made up and weights untrained, neither of which changes the time. Each measurement is a process of
its own, so that its peak memory is too, and has one thread; those to be compared alternate. The processor's time is
what the wall clock shows where no other work shares the core.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

DIM, LENGTH, USERS_A_STEP, WARM = 64, 50, 41, 2
OBJECTIVES = ("sampled_softmax", "gbce", "retrieval")
Figures = dict[str, Any]


def new_model(items: int, objective: str) -> Any:
    """A two-tower model of so many items, 64 wide, two blocks of attention, no text."""
    from tfrec import retrieval, towers

    trained = np.arange(1, items + 1)
    made: dict[str, Callable[[], Any]] = {
        "softmax": lambda: retrieval.FullSoftmax(trained, unseen=True),
        "sampled_softmax": lambda: retrieval.SampledSoftmax(trained, 2048, unseen=True),
        "gbce": lambda: retrieval.GBCE(trained, 512, unseen=True),
        "retrieval": lambda: retrieval.TFRSRetrieval(trained, np.ones(items + 1), 512),
    }
    blocks = [towers.LiGRBlock(DIM, 2, None, 0.2, LENGTH, name=f"block_{place}") for place in range(2)]
    behavior = towers.BehaviorTower(DIM, [towers.SelfAttentionEncoder(blocks, name="attention")], dropout=0.2)
    return retrieval.TwoTower(towers.ItemTower(DIM, items + 1), behavior, made[objective](), similarity="cosine")


def step(*, items: int, objective: str, row_wise: bool, users: int, steps: int) -> Figures:
    """Milliseconds of each of some training steps, of 50 events for each of so many users."""
    import tensorflow as tf

    from tfrec import build, config
    from tfrec.features import HISTORY, TARGET

    rng = np.random.default_rng(items)
    model, training = new_model(items, objective), config.Training(schedule="constant", row_wise=row_wise)
    model.compile(build.optimizer(training, model=model))
    batches = [
        {HISTORY: tf.constant(rows[:, :-1]), TARGET: tf.constant(rows)}
        for rows in (rng.integers(1, items + 1, (users, LENGTH + 1), np.int32) for _ in range(WARM + steps))
    ]
    run, clocks = tf.function(model.train_step, autograph=False), (time.perf_counter, time.process_time)
    took = []
    for batch in batches:
        start = [clock() for clock in clocks]
        float(run(batch)["loss"])
        took.append([1000 * (clock() - before) for clock, before in zip(clocks, start, strict=True)])
    wall, processor = np.array(took[WARM:]).T.tolist()
    return {"wall_ms": wall, "processor_ms": processor}


def evaluation(*, items: int, users: int) -> Figures:
    """Seconds of an exact evaluation of so many users: their recommendations, all figures, and the baselines."""
    from tfrec import evaluation as measures
    from tfrec.data import EvaluationUsers
    from tfrec.data.sequences import Ragged, distinct
    from tfrec.features import ITEM_ID, USER_ID
    from tfrec.retrieval import recommend

    rng = np.random.default_rng(0)
    ids = np.array(["", *(f"i{row}" for row in range(1, items + 1))], object)
    names = np.array([f"u{user}" for user in range(users)], object)
    lengths = rng.integers(1, LENGTH, users)
    rows = rng.integers(1, items + 1, lengths.sum(), np.int32)
    past = Ragged(names, rows, np.concatenate([[0], np.cumsum(lengths)]))
    seen = distinct(past, items + 1)
    truth = rng.integers(1, items + 1, users, np.int32)
    relevant = Ragged(names, truth, np.arange(users + 1))
    asked = EvaluationUsers(past, seen, relevant, {}, {}, LENGTH, np.zeros(0, np.int32))
    table = pd.DataFrame({ITEM_ID: ids, "candidate": ids != "", "count": rng.integers(0, 100, items + 1)})
    history = pd.DataFrame({USER_ID: names[past.owners], ITEM_ID: ids[rows]})
    wanted = pd.DataFrame({USER_ID: names, ITEM_ID: ids[truth]})
    seconds, model = {}, new_model(items, "sampled_softmax")

    def timed(what: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        found = work()
        seconds[what] = time.process_time() - start
        return found

    vectors = timed("item vectors", lambda: model.item_vectors().numpy())
    catalogue, known = measures.Catalogue.from_items(table), measures.Histories(past.user_ids, rows, past.offsets)
    lists = {
        "recommendations": timed("recommendations", lambda: recommend(model, asked.dataset(256), ids)),
        "popularity": timed("popularity", lambda: measures.popularity(catalogue, known)),
        "cooccurrence": timed("cooccurrence", lambda: measures.cooccurrence(catalogue, known, known)),
    }
    shared = {"history": history, "item_vectors": vectors}
    for name, found in lists.items():
        timed(f"figures of {name}", lambda found=found: measures.evaluate(found, wanted, table, **shared))
    return {"seconds": seconds}


MEASURES: dict[str, Callable[..., Figures]] = {"step": step, "evaluation": evaluation}


def measured(what: str, **options: Any) -> Figures:
    """The figures of a measurement in a process of its own, and its peak memory.

    The process is a fork: libraries are imported once, and TensorFlow begins its work only there.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(there, what, options))
    child.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        raise SystemExit(f"catalogue: the measurement {what} {options} ended without a result") from None
    finally:
        child.join()
    return {**options, **found}


def _send(there: Any, what: str, options: Figures) -> None:
    import tensorflow as tf

    from tfrec.report import peak_memory_mb

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    there.send({**MEASURES[what](**options), "peak_mb": peak_memory_mb()})


def steps_by_size(items: list[int], repeats: int, steps: int) -> list[Figures]:
    """Steps of each objective, by row and not, at each size; sizes alternate within a repeat."""
    combined = itertools.product(range(repeats), OBJECTIVES, (True, False), items)
    found: dict[tuple[Any, ...], list[Figures]] = {}
    for repeat, objective, row_wise, size in combined:
        options = {"items": size, "objective": objective, "row_wise": row_wise, "users": USERS_A_STEP, "steps": steps}
        found.setdefault((objective, row_wise, size), []).append(measured("step", **options))
        click.echo(f"{repeat + 1}: {objective}, {'by row' if row_wise else 'AdamW'}, {size:,} items", err=True)
    return [_median(parts) for parts in found.values()]


def _median(parts: list[Figures]) -> Figures:
    """One row of several repeats: the median of its steps in each, and the median of these."""
    kept = {name: parts[0][name] for name in ("items", "objective", "row_wise", "users", "steps")}
    for name in ("wall_ms", "processor_ms"):
        kept[f"{name}_of_repeats"] = [statistics.median(part[name]) for part in parts]
        kept[name] = statistics.median(kept[f"{name}_of_repeats"])
    return {**kept, "peak_mb": max(part["peak_mb"] for part in parts)}


def softmax_steps(items: int) -> list[Figures]:
    """Steps of the full softmax over a fifth as many positions, and as many, as those of the other objectives."""
    shared = {"items": items, "objective": "softmax", "row_wise": False, "steps": 1}
    return [measured("step", users=users, **shared) for users in (USERS_A_STEP // 5, USERS_A_STEP)]


def tables(found: Figures) -> dict[str, list[list[str]]]:
    """What was measured, by part: a heading and rows of cells."""
    steps = found.get("steps", [])
    sizes = sorted({row["items"] for row in steps})
    made = {"steps": [["objective", *(f"{size:,} items" for size in sizes), "ratio", "peak, GiB"]]}
    for objective, row_wise in itertools.product(OBJECTIVES, (True, False)) if steps else ():
        kept = {row["items"]: row for row in steps if (row["objective"], row["row_wise"]) == (objective, row_wise)}
        took = [kept[size]["processor_ms"] for size in sizes]
        each = [", ".join(f"{value:.0f}" for value in kept[size]["processor_ms_of_repeats"]) for size in sizes]
        cells = [f"{value:.0f} ({repeats})" for value, repeats in zip(took, each, strict=True)]
        name = f"{objective}, {'by row' if row_wise else 'AdamW'}"
        made["steps"].append([name, *cells, f"{took[-1] / took[0]:.2f}", _gib(kept[sizes[-1]])])
    made["softmax"] = [["items, full softmax", "positions", "processor seconds a step", "peak, GiB"]]
    for row in found.get("softmax", []):
        seconds = statistics.median(row["processor_ms"]) / 1000
        made["softmax"].append([f"{row['items']:,}", f"{row['users'] * LENGTH:,}", f"{seconds:.1f}", _gib(row)])
    made["evaluation"] = [["items", "users", "part", "processor seconds", "peak of all, GiB"]]
    for row in found.get("evaluation", []):
        for part, seconds in row["seconds"].items():
            made["evaluation"].append([f"{row['items']:,}", f"{row['users']:,}", part, f"{seconds:.1f}", _gib(row)])
    return made


def _gib(row: Figures) -> str:
    return f"{row['peak_mb'] / 1024:.1f}"


def shown(found: Figures) -> None:
    """Print what was measured."""
    for heading, *rows in tables(found).values():
        table = Table(*heading)
        for row in rows:
            table.add_row(*row)
        if rows:
            Console(width=120).print(table)


PARTS = ("steps", "softmax", "evaluation")
SIZES = (10_000, 100_000, 1_000_000)


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS, show_default=True)
@click.option("--items", multiple=True, type=click.IntRange(1000), default=SIZES, show_default=True)
@click.option(
    "--repeats", type=click.IntRange(1), default=3, show_default=True, help="Processes for each kind of step."
)
@click.option(
    "--steps", type=click.IntRange(1), default=10, show_default=True, help="Steps that each of them measures."
)
@click.option("--users", type=click.IntRange(1), default=10_000, show_default=True, help="Users of the evaluation.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Record, JSON; other parts in it stay.")
@click.option("--page", is_flag=True, help="Write the page from its record, and measure nothing.")
def main(
    parts: tuple[str, ...],
    items: tuple[int, ...],
    repeats: int,
    steps: int,
    users: int,
    output: Path | None,
    *,
    page: bool,
) -> None:
    """Measure, and print tables; see the head of the file."""
    if page:
        fill_page()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tfrec.build
    import tfrec.evaluation  # noqa: F401
    from tfrec.retrieval.tfrs_objective import recommenders

    recommenders()  # Imported before the forks, which then need not.
    work: dict[str, Callable[[], list[Figures]]] = {
        "steps": lambda: steps_by_size(sorted(items), repeats, steps),
        "softmax": lambda: softmax_steps(max(items)),
        "evaluation": lambda: [measured("evaluation", items=max(items), users=users)],
    }
    found: Figures = json.loads(output.read_text(encoding="utf-8")) if output is not None and output.exists() else {}
    for part in parts:
        found[part] = work[part]()
    shown(found)
    if output is not None:
        write(output, found, parts)


def fill_page() -> None:
    """Write the tables of the page from its record."""
    import results

    found = json.loads((results.RESULTS / "large_catalogues.json").read_text(encoding="utf-8"))
    for part, (heading, *rows) in tables(found).items():
        page, mark = results.ROOT / "docs" / "large_catalogues.md", f"large catalogues, {part}"
        results.fill(page, mark, results.markdown(heading, rows))


def write(output: Path, found: Figures, parts: Sequence[str]) -> None:
    """Write the record; of the parts that were measured now it says the commit and the environment, under `of`.

    A record's `environment` is that of the parts which `of` does not name: they were measured before there was one.
    """
    import results  # It and what it needs would count in the memory of the forks.

    from tfrec.report import describe

    now = {"commit": results.commit(), "environment": describe()}
    told = {**found.get("of", {}), **dict.fromkeys(parts, now)}
    kept = {name: value for name, value in found.items() if name != "environment" or not set(PARTS) <= set(told)}
    output.write_text(json.dumps({**kept, "of": told}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
