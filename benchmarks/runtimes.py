"""Whether a version answers alike under two runtimes: needs TensorFlow and NumPy alone, so that any runtime can ask.

python benchmarks/runtimes.py VERSION_FOLDER ANSWERS.npz

The first runtime writes the file, every other one compares its answers with it: 64 histories of 50 drawn items, in a
session as servers have it and through `tf.saved_model.load`.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

HISTORIES, EVENTS = 64, 50


def answers(folder: str) -> dict[str, np.ndarray]:
    """`item_ids` and `scores` of the drawn histories, from a session; the Python loader must give the same.

    Raises:
        SystemExit: it does not.
    """
    with open(os.path.join(folder, "assets", "item_ids.txt"), encoding="utf-8", newline="\n") as file:
        ids = np.array(file.read().split("\n")[:-1], object)
    history = np.random.default_rng(0).choice(ids, (HISTORIES, EVENTS))
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        bundle = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        signature = bundle.signature_def["serving_default"]
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        found = session.run(outputs, {signature.inputs["history"].name: history})
    loaded = tf.saved_model.load(folder).signatures["serving_default"](history=tf.constant(history))
    difference = np.abs(found["scores"] - loaded["scores"].numpy()).max()
    if not np.array_equal(found["item_ids"], loaded["item_ids"].numpy()) or difference > 1e-5:
        raise SystemExit(f"session and Python loader differ by {difference:.2g}")
    return {"item_ids": found["item_ids"].astype("U"), "scores": found["scores"]}


def main(folder: str, file: str) -> None:
    """Write the answers, or compare them with those that are there."""
    found = answers(folder)
    if not os.path.exists(file):
        np.savez(file, **found)
        print(f"TensorFlow {tf.__version__}: written to {file}")
        return
    known = np.load(file)
    same = (known["item_ids"] == found["item_ids"]).mean()
    difference = np.abs(known["scores"] - found["scores"]).max()
    print(f"TensorFlow {tf.__version__}: {100 * same:.2f} % of the ids are the same, scores differ by {difference:.2g}")
    if not difference <= 1e-5 * max(1.0, np.abs(known["scores"]).max()):
        raise SystemExit("the runtimes do not answer alike")


if __name__ == "__main__":
    main(*sys.argv[1:])
