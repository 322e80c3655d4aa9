"""`prepare` through Apache Beam, on whatever Beam runs on; `beam_pipelines` needs Beam, this module only says so."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrec.data.cluster.runner import ClusterRunner
from tfrec.data.table_pieces import Reading
from tfrec.data.totals import Merge


class BeamRunner(ClusterRunner):
    """A runner of Apache Beam.

    Args:
        name: what Beam calls it: direct, flink, spark, dataflow, ...
        options: Beam's options, by name; a list for one that is given more than once, True for one without a value.

    Raises:
        ImportError: Beam is not installed, or what the runner needs beside it.
        ValueError: Beam knows no such runner, or an option has a value that it does not take.
    """

    def __init__(self, name: str, options: Mapping[str, str | bool | list[str]] | None = None) -> None:
        if importlib.util.find_spec("apache_beam") is None:
            raise ImportError("A runner needs Apache Beam, which is not installed: pip install 'tfrec[beam]'.")
        from tfrec.data.cluster import beam_pipelines

        self._pipelines: Any = beam_pipelines
        self._options = beam_pipelines.options_of(name, options or {})

    def total(self, things: Sequence[tuple[int, Any]], step: Path, merge: Merge, result: Path) -> None:
        """See `ClusterRunner`."""
        self._pipelines.total(self._options, things, step, merge, result)

    def total_of_pieces(self, readings: Sequence[Reading], step: Path, merge: Merge, result: Path) -> None:
        """See `ClusterRunner`."""
        self._pipelines.total_of_pieces(self._options, readings, step, merge, result)

    def sort(self, readings: Sequence[Reading], step: Path, findings: Path, result: Path) -> None:
        """See `ClusterRunner`."""
        self._pipelines.sort(self._options, readings, step, findings, result)
