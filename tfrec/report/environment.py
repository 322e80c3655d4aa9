"""What a run ran on and took: versions, cores, arithmetic speed, peak memory. Seconds without these do not compare."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from importlib import metadata

import numpy as np

PACKAGES = (
    "tfrec", "tensorflow", "keras", "tensorflow-recommenders", "keras-nlp", "tensorflow-text",
    "numpy", "pandas", "pyarrow",
)  # fmt: skip
_MEBIBYTE = 2**20


def describe(packages: Sequence[str] = PACKAGES) -> dict[str, str | int | float]:
    """The machine and the software, as flat names for `metrics.json`.

    Args:
        packages: distributions whose versions are looked up; those not installed are left out.

    Returns:
        `python`, `platform`, `processor`, `cores` (those this process may use), `memory_mb` (of the machine),
        `matmul_gflops` (float32, measured now, about a second), and one version a package.
    """
    facts: dict[str, str | int | float] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory_mb": _machine_memory_mb(),
        "matmul_gflops": matmul_gflops(),
    }
    for package in packages:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float:
    """The most resident memory that this process has held so far, in MiB.

    The process's own history counts, so a figure for one stage needs a process of its own.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (_MEBIBYTE if sys.platform == "darwin" else 1024), 1)


def matmul_gflops(size: int = 1024, repeats: int = 15) -> float:
    """Speed of a float32 matrix product in NumPy, the median of several, in GFLOP/s.

    Args:
        size: rows and columns of the two matrices.
        repeats: number of timed products, after one that is not timed.

    Returns:
        2 size^3 / seconds / 1e9, rounded to one decimal.

    Raises:
        ValueError: size or repeats is below 1.
    """
    if size < 1 or repeats < 1:
        raise ValueError(f"size and repeats must be at least 1, got {size} and {repeats}")
    left = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    product = left @ left
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(left, left, out=product)
        seconds.append(time.perf_counter() - start)
    return round(2 * size**3 / max(statistics.median(seconds), 1e-9) / 1e9, 1)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _machine_memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MEBIBYTE
