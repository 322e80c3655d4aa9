"""Workers of a cluster in one process: they get things in no order, and nothing but what can be pickled."""

import pickle
import random
from collections import defaultdict

from tfrec.data.cluster import work
from tfrec.data.cluster.runner import ClusterRunner
from tfrec.data.findings import Findings
from tfrec.data.totals import joint


class Workers(ClusterRunner):
    """Do by turns what a cluster does at once; `parts` is how many parts there were, `pieces` how many pieces."""

    def __init__(self, seed=0):
        self._rng, self.parts, self.pieces = random.Random(seed), 0, 0

    def total(self, things, step, merge, result):
        self._store([work.say(thing, step) for thing in self._dealt(things)], merge, result)

    def total_of_pieces(self, readings, step, merge, result):
        self._store([work.say(piece, step) for piece in self._read(readings)], merge, result)

    def sort(self, readings, step, findings, result):
        cut, parts = [], defaultdict(list)
        for piece in self._read(readings):
            said, slices = work.cut(piece, step)
            cut.append(said)
            for part, content in sent(slices):
                parts[part].append(content)
        self.parts = len(parts)
        self._store(cut, Findings.merged, findings)
        self._store([work.put_together(part, step) for part in self._dealt(list(parts.items()))], joint, result)

    def _read(self, readings):
        pieces = [piece for reading in self._dealt(readings) for piece in work.read(reading)]
        self.pieces = len(pieces)
        return self._dealt(pieces)

    def _dealt(self, things):
        return self._rng.sample(sent(list(things)), len(things))

    def _store(self, said, merge, path):
        """Merge some at a time, those merged before among them."""
        said = sent(said)
        while len(said) > 1:
            some, said = said[:3], said[3:]
            said.append(sent(work.merged(sent(merge), some)))
        work.stored(said[0] if said else work.Said(0), path)


def sent(value):
    return pickle.loads(pickle.dumps(value))
