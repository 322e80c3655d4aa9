"""`tfrec serve`: an exported model behind REST and gRPC."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tfrec.cli.group import FILE, command, without_greetings
from tfrec.serving.waiting import TOKEN

if TYPE_CHECKING:
    from tfrec.serving.server import Server

# What TensorFlow Serving can be told; an option that a server cannot honour is refused rather than forgotten.
_ELSEWHERE = {"model", "server", "name", "host", "rest_port", "grpc_port", "poll"}
_PORT = click.IntRange(0, 65535)
_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0, min_open=True)


@command.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--server",
    type=click.Choice(["builtin", "tfserving", "docker"]),
    default="builtin",
    show_default=True,
    help="tfserving runs an installed tensorflow_model_server, docker the official image.",
)
@click.option("--name", help="What clients call the model; the folder's name by default.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--rest-port", type=_PORT, default=8501, show_default=True, help="0 takes a free one.")
@click.option("--grpc-port", type=_PORT, default=8500, show_default=True, help="0 takes a free one.")
@click.option("--threads", type=_COUNT, help="Runs at a time; one a core by default.")
@click.option("--batch-rows", type=_COUNT, default=64, show_default=True, help="Rows computed together at most.")
@click.option("--poll", type=_SECONDS, default=5.0, show_default=True, help="Seconds between two looks for versions.")
@click.option(
    "--token-file", type=FILE, help=f"File with the token that clients must send; {TOKEN} holds it otherwise."
)
@click.option("--tls-certificate", type=FILE, help="PEM file: both ports speak TLS.")
@click.option("--tls-key", type=FILE, help="PEM file of the certificate's key.")
@click.option("--max-request-bytes", type=_COUNT, default=4 * 2**20, show_default=True, help="Largest body or message.")
@click.option("--max-rows", type=_COUNT, default=1024, show_default=True, help="Rows of one request.")
@click.option(
    "--max-pending", type=_COUNT, default=1000, show_default=True, help="Requests that wait or run at a time."
)
@click.option(
    "--max-pending-bytes", type=_COUNT, default=64 * 2**20, show_default=True, help="Of those requests together."
)
@click.option("--timeout", type=_SECONDS, default=30.0, show_default=True, help="Seconds for one request.")
@click.option(
    "--notice",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds that a stopping server answers on, not ready any more, so that a load balancer turns away first.",
)
@click.option(
    "--drain", type=_SECONDS, default=10.0, show_default=True, help="Seconds for running requests at the end."
)
@click.option("--log-requests", is_flag=True, help="A line of the log for each request.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def serve(context: click.Context, model: Path, server: str, **chosen: Any) -> None:
    """Serve a published or exported MODEL until interrupted: its versions are followed, and swapped without a pause.

    The built-in server answers as TensorFlow Serving does, for where that is not installed.
    """
    with without_greetings():
        import tensorflow  # noqa: F401

        from tfrec.serving import server as serving
        from tfrec.serving.server import elsewhere

    options = _options(model, chosen)
    if server == "builtin":
        _log_as(chosen["log_format"])
        serving.serve(options, _announce)
        return
    _refuse_dropped(context, server, has_token=options.token is not None)
    words = elsewhere.tfserving(options) if server == "tfserving" else elsewhere.docker(options)
    click.echo(" ".join(words), err=True)
    sys.stdout.flush()
    os.execvp(words[0], words)  # noqa: S606, the words are a list: no shell reads them


def _options(model: Path, chosen: dict[str, Any]) -> Any:
    from tfrec.serving.server import Limits, Options

    file = chosen["token_file"]
    try:
        token = os.environ.get(TOKEN) if file is None else file.read_text(encoding="utf-8").strip()
    except ValueError as error:
        raise ValueError(f"{file} is no text, and must hold the token: {error}") from error
    return Options(
        model,
        name=chosen["name"],
        host=chosen["host"],
        rest_port=chosen["rest_port"],
        grpc_port=chosen["grpc_port"],
        threads=chosen["threads"] or 0,
        batch_rows=chosen["batch_rows"],
        poll_seconds=chosen["poll"],
        notice_seconds=chosen["notice"],
        drain_seconds=chosen["drain"],
        token=token,
        certificate=chosen["tls_certificate"],
        key=chosen["tls_key"],
        limits=Limits(
            request_bytes=chosen["max_request_bytes"],
            rows=chosen["max_rows"],
            pending=chosen["max_pending"],
            pending_bytes=chosen["max_pending_bytes"],
            seconds=chosen["timeout"],
        ),
        log_requests=chosen["log_requests"],
    )


def _refuse_dropped(context: click.Context, server: str, *, has_token: bool) -> None:
    """No option is silently dropped, a token least of all."""
    given = [
        name
        for name in context.params
        if name not in _ELSEWHERE and context.get_parameter_source(name) != ParameterSource.DEFAULT
    ]
    named = [f"--{name.replace('_', '-')}" for name in given] or ([TOKEN] if has_token else [])
    if named:
        raise click.UsageError(
            f"--server {server} cannot honour {', '.join(named)}: leave it out, put a proxy before the server, or take "
            "--server builtin"
        )


def _announce(server: Server) -> None:
    click.echo(f"REST: port {server.rest_port}   gRPC: port {server.grpc_port}   stop: Ctrl-C")
    sys.stdout.flush()


def _log_as(form: str) -> None:
    """One JSON object a line, where that is wanted; lines with a time otherwise."""
    if form == "json":
        from pythonjsonlogger.json import JsonFormatter

        formatter: logging.Formatter = JsonFormatter(
            "{asctime}{levelname}{name}{message}", style="{", rename_fields={"asctime": "time", "levelname": "level"}
        )
    else:
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)
