"""The programs of benchmarks/ as modules, and a pipeline for their tests."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = (
    "name: small\nseed: {seed}\ndata: {{events: {{path: e.csv, columns: {{position: n}}}}, max_length: {length}}}\n"
)


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
