"""The benchmark of a ranker's latency runs, and a request takes as long as it may."""

import time

import numpy as np
import pytest

from tests.benchmark_scripts import script

# The middle request took 8 ms of one core; what is measured is the process's own time, whatever else runs.
MOST_MILLISECONDS = 30


@pytest.mark.slow
def test_200_candidates_on_200_events_take_less_than_30_ms(tmp_path):
    benchmark = script("ranker_latency")
    took = benchmark.milliseconds(benchmark.exported_defaults(tmp_path), requests=30, clock=time.process_time)
    assert len(took) == 30 and 0.1 < np.median(took) < MOST_MILLISECONDS
