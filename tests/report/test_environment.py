"""What a run ran on."""

import numpy as np
import pytest

from tfrec.report import describe, matmul_gflops, peak_memory_mb


def test_the_description_names_machine_and_versions():
    facts = describe(packages=("numpy", "no-such-package"))
    assert facts["numpy"] == np.__version__
    assert "no-such-package" not in facts
    assert facts["cores"] >= 1 and facts["matmul_gflops"] > 0 and facts["memory_mb"] > 100
    assert facts["python"].startswith("3.")


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_mb()
    block = np.ones(100 * 2**20 // 8)
    held = peak_memory_mb()
    assert 10 < before <= held
    assert held >= block.nbytes / 2**20


def test_the_speed_of_a_product():
    assert matmul_gflops(size=64, repeats=3) > 0
    with pytest.raises(ValueError, match="size and repeats must be at least 1, got 64 and 0"):
        matmul_gflops(64, 0)
