"""The house rules that a reader relies on: which room imports which, and how large things get."""

import ast
import functools
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tfrec"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), ROOT / "setup.py"])

# A room may import the rooms of lower levels, never one of its own level.
LEVELS = {
    "features": 0,
    "data": 1, "towers": 1, "evaluation": 1,
    "retrieval": 2,
    "ranking": 3,
    "training": 4,
    "report": 5,
    "serving": 6,
    "config": 7,
    "build": 8,
    "stages": 9,
    "cli": 10,
}  # fmt: skip
LIGHT = ("evaluation", "data.simulated")
MAX_LINES, MAX_BODY, MAX_MEDIAN_BODY, MAX_PARAMETERS, MAX_DEPTH = 300, 50, 12, 8, 2
MAX_TRACKED_BYTES = 512 * 1024
FOREIGN_FLAGS = ("training", "deep")  # the names and the places are those of Keras and of PyYAML
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room(path: Path) -> str:
    return dotted(path).partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Full names of what a module imports anywhere in it; relative imports are made absolute."""
    package = ["tfrec", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def functions(paths: Iterable[Path]) -> Iterator[tuple[str, Function]]:
    """Every function of the files, with its place."""
    for path in paths:
        for node in ast.walk(parsed(path)):
            if isinstance(node, Function):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def parameters(function: Function) -> list[str]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def positional_flags(function: Function) -> list[str]:
    positional = [*function.args.posonlyargs, *function.args.args]
    flags = [one.arg for one in positional if one.annotation is not None and ast.unparse(one.annotation) == "bool"]
    return [name for name in flags if name not in FOREIGN_FLAGS and len(parameters(function)) > 1]


def test_every_room_has_a_level():
    assert {room(path) for path in MODULES} - {"__init__"} <= set(LEVELS)


def test_imports_point_one_way():
    wrong = []
    for path in MODULES:
        for name in imported(path):
            other = (name.split(".") + [""])[1] if name.startswith("tfrec.") else ""
            if other in LEVELS and room(path) in LEVELS and other != room(path) and LEVELS[other] >= LEVELS[room(path)]:
                wrong.append(f"{dotted(path)} imports {name}")
    assert not wrong


def test_evaluation_and_simulated_data_need_numpy_and_pandas_alone():
    light = [path for path in MODULES if dotted(path).startswith(LIGHT)]
    known = {*sys.stdlib_module_names, "numpy", "pandas", "tfrec"}
    assert light
    assert not [
        (dotted(path), name) for path in light for name in imported(path) if name.partition(".")[0] not in known
    ]


def test_keras_is_keras_3():
    attributes = [node for path in MODULES for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)]
    names = [name for path in MODULES for name in imported(path)]
    assert not [name for name in names if name.startswith(("tensorflow.keras", "tf_keras"))]
    assert not [text for node in attributes if (text := ast.unparse(node)).startswith("tf.keras")]


def test_modules_are_named_for_what_they_hold_and_say_it():
    assert not [path for path in MODULES if path.stem in ("utils", "util", "helpers", "helper", "common", "misc")]
    assert not [path for path in MODULES if not ast.get_docstring(parsed(path))]


def test_the_library_does_not_print():
    calls = {
        dotted(path): node.lineno
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert set(calls) <= {"cli"}


def test_files_and_functions_are_small():
    assert not [path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES]
    assert not [place for place, one in functions(SOURCES) if body_lines(one) > MAX_BODY]
    assert statistics.median(body_lines(one) for _, one in functions(MODULES)) <= MAX_MEDIAN_BODY


def test_functions_take_few_parameters_and_flags_by_name():
    assert not [place for place, one in functions(MODULES) if len(parameters(one)) > MAX_PARAMETERS]
    assert not [(place, flags) for place, one in functions(MODULES) if (flags := positional_flags(one))]


def test_classes_are_not_deep():
    bases = {
        node.name: [ast.unparse(base) for base in node.bases]
        for path in MODULES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    }

    def depth(name: str) -> int:
        return 0 if name not in bases else 1 + max(map(depth, bases[name]), default=0)

    assert not [f"{name}: {depth(name)} levels" for name in bases if depth(name) > MAX_DEPTH]


def test_tests_mirror_the_package():
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/*.py")}
    assert folders <= {*LEVELS, "pipelines"}


def test_every_test_checks_something():
    def checks(node: ast.AST) -> bool:
        called = ast.unparse(node.func).rpartition(".")[2].lstrip("_") if isinstance(node, ast.Call) else ""
        return isinstance(node, ast.Assert) or called.startswith(("assert", "check", "raises", "warns"))

    tests = [
        (place, one)
        for place, one in functions(sorted((ROOT / "tests").rglob("test_*.py")))
        if one.name.startswith("test_")
    ]
    assert tests
    assert not [place for place, one in tests if not any(checks(node) for node in ast.walk(one))]


def test_nothing_large_or_made_is_tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    tracked = [ROOT / name for name in listing.stdout.split("\0") if name]
    made = {".npy", ".npz", ".parquet", ".gz", ".h5", ".keras", ".safetensors", ".pb", ".tfrecord", ".pkl", ".whl"}
    present = [path for path in tracked if path.is_file()]
    assert not [str(path) for path in present if path.suffix in made or path.stat().st_size > MAX_TRACKED_BYTES]
