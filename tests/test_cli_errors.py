"""What goes wrong inside the command is one line, and a traceback for whoever sets TFREC_DEBUG."""

import sys
import types

import pytest
import tensorflow as tf

import tfrec
from tfrec import cli

FULL = "the disk is full. Make room, and run the same command again."
SHORT = (
    "The memory does not suffice ({}). Lower what a training takes (training.tokens_per_batch, model.dim, "
    "data.max_length, or a sampled training.objective), or close other programs."
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (FileNotFoundError("no model x"), "no model x"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied"),
        (OSError(28, "No space left on device"), FULL),
        (OSError(122, "Disk quota exceeded", "/x/y"), f"/x/y cannot be written: {FULL}"),
        (tf.errors.ResourceExhaustedError(None, None, "/x; No space left on device"), FULL),
        (tf.errors.UnknownError(None, None, "/x; Disk quota exceeded"), FULL),
        (MemoryError("Unable to allocate 3 TiB"), SHORT.format("Unable to allocate 3 TiB")),
        (tf.errors.ResourceExhaustedError(None, None, "{{node a}} OOM [Op:MatMul]\nmore"), SHORT.format("OOM")),
        (
            tf.errors.ResourceExhaustedError(None, None, "{{node a}} /x/y; Too many open files [Op:ReadFile]"),
            "/x/y; Too many open files: the system allows this process no more (`ulimit -n`).",
        ),
        (EOFError(), "EOFError"),
    ],
)
def test_what_goes_wrong_inside_is_one_line(monkeypatch, capsys, tmp_path, error, told):
    def run(*arguments, **options):
        raise error

    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    module = types.SimpleNamespace(run=run)
    monkeypatch.setitem(sys.modules, "tfrec.stages", module)
    monkeypatch.setattr(tfrec, "stages", module, raising=False)
    pipeline = tmp_path / "shop.yaml"
    pipeline.write_text("name: shop\ndata: {simulated: {users: 10}}\n", encoding="utf-8")
    assert cli.main(["run", str(pipeline)]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"tfrec: error: {told}"
    monkeypatch.setenv("TFREC_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["run", str(pipeline)])
