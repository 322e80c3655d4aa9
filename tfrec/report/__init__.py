"""Report: `metrics.json`, tables, pictures and `report.md` of a run; `summaries` (TensorBoard) is imported by name."""

from tfrec.report.environment import describe, matmul_gflops, peak_memory_mb
from tfrec.report.markdown import write_report
from tfrec.report.plots import write_plots
from tfrec.report.results import Results, load_evaluations, write_metrics

__all__ = [
    "Results",
    "describe",
    "load_evaluations",
    "matmul_gflops",
    "peak_memory_mb",
    "write_metrics",
    "write_plots",
    "write_report",
]
