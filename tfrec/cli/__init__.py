"""The `tfrec` command: reads the arguments, calls the room that does the work, prints; the last step of the flow."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Sequence

import click

import tfrec
from tfrec.cli import compare, cross_validate, pipelines, recommend, rollback, search, serve
from tfrec.cli.group import command

MISTAKES = (click.ClickException, ValueError, OSError, EOFError, ImportError)

__all__ = ["command", "compare", "cross_validate", "main", "pipelines", "recommend", "rollback", "search", "serve"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the status is 0, 1 after one line on standard error, or 130 when interrupted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("tfrec").setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It tells of each retry; the end is our one line.
    try:
        tfrec.check_backend()
        with command.make_context("tfrec", list(sys.argv[1:] if arguments is None else arguments)) as context:
            command.invoke(context)
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("tfrec: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("TFREC_DEBUG") or not (
            isinstance(error, MISTAKES) or _disk_is_full(error) or _too_much(error)
        ):
            raise
        print(f"tfrec: error: {_one_line(error)}", file=sys.stderr)
        return 1


def _disk_is_full(error: Exception) -> bool:
    """Whether the system says so, in TensorFlow's words too; what has been put into words is left as it is."""
    full = errno.ENOSPC, errno.EDQUOT
    if isinstance(error, OSError):
        return error.errno in full
    return type(error).__module__.startswith("tensorflow") and any(os.strerror(code) in str(error) for code in full)


def _too_much(error: Exception) -> bool:
    """Whether there was less memory than was asked for, or there were fewer files that may be open."""
    return isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"


def _one_line(error: Exception) -> str:
    if _disk_is_full(error):
        name = getattr(error, "filename", None)
        place = f"{name} cannot be written: " if name else ""
        text = f"{place}the disk is full. Make room, and run the same command again."
    elif _too_much(error):
        told = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]", "", str(error)).strip().splitlines() or [type(error).__name__]
        if any(os.strerror(code) in str(error) for code in (errno.EMFILE, errno.ENFILE)):
            text = f"{told[0].strip()}: the system allows this process no more (`ulimit -n`)."
        else:
            text = (
                f"The memory does not suffice ({told[0].strip()}). Lower what a training takes (training."
                "tokens_per_batch, model.dim, data.max_length, or a sampled training.objective), or close other "
                "programs."
            )
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__
