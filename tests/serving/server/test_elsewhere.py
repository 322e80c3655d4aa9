"""The command lines of TensorFlow Serving, installed or in Docker, and what the command refuses for them."""

import os
import stat

import pytest
from click.testing import CliRunner

from tfrec.cli import command
from tfrec.serving.server import Options, elsewhere


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs that are found and do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (elsewhere.PROGRAM, elsewhere.DOCKER):
        (folder / name).write_text("#!/bin/sh\n", "utf-8")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_an_installed_one_follows_the_published_file(published, programs):
    words = elsewhere.tfserving(Options(published / "shop", host="0.0.0.0", rest_port=1, grpc_port=2, poll_seconds=0.2))
    assert words == [
        "tensorflow_model_server",
        "--port=2",
        "--rest_api_port=1",
        f"--model_config_file={published}/models.config",
        "--model_config_file_poll_wait_seconds=1",
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={published}/monitoring.config",
    ]
    for line in words[3:]:
        place = line.partition("=")[2]
        assert not place.startswith("/") or os.path.exists(place)


def test_docker_sees_the_folder_where_the_host_has_it(published, programs):
    words = elsewhere.docker(Options(published, rest_port=1, grpc_port=2))
    assert words[:3] == ["docker", "run", "--rm"]
    assert "--publish=127.0.0.1:1:8501" in words and "--publish=127.0.0.1:2:8500" in words
    assert words.index(f"--volume={published}:{published}:ro") < words.index("tensorflow/serving")
    assert words.index("tensorflow/serving") < words.index(f"--model_config_file={published}/models.config")


def test_an_unpublished_folder_is_served_by_its_newest_version(published, programs):
    (published / "models.config").rename(published / "aside")
    try:
        words = elsewhere.docker(Options(published / "shop", name="mine", poll_seconds=7))
    finally:
        (published / "aside").rename(published / "models.config")
    folder = f"--model_base_path={published}/shop"
    assert words[-3:] == ["--model_name=mine", folder, "--file_system_poll_wait_seconds=7"]


def test_what_it_cannot_serve_is_told(published, programs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="listens at all addresses"):
        elsewhere.tfserving(Options(published / "shop"))
    with pytest.raises(ValueError, match="is one version"):
        elsewhere.docker(Options(published / "shop" / "1"))
    with pytest.raises(ValueError, match="leave --name out"):
        elsewhere.docker(Options(published / "shop", name="mine"))
    with pytest.raises(ValueError, match="takes no free port"):
        elsewhere.docker(Options(published / "shop", rest_port=0))
    with monkeypatch.context() as patch:
        patch.setattr(elsewhere.server_config, "models", lambda root: ["shop", "secret"] if root == published else [])
        with pytest.raises(ValueError, match="names secret too, and TensorFlow Serving serves all"):
            elsewhere.docker(Options(published / "shop"))
    moved = (published).rename(published.with_name("moved"))
    try:
        with pytest.raises(ValueError, match="publish again, or correct the file"):
            elsewhere.docker(Options(moved / "shop"))
    finally:
        moved.rename(published)
    (programs / elsewhere.DOCKER).unlink()
    with pytest.raises(ValueError, match="docker is not installed"):
        elsewhere.docker(Options(published / "shop"))


@pytest.mark.parametrize(
    ("words", "environment", "named"),
    [
        (["--token-file", "token"], {}, "--token-file"),
        (["--max-rows", "3"], {}, "--max-rows"),
        (["--batch-rows", "64"], {}, "--batch-rows"),
        ([], {"TFREC_TOKEN": "s3cret"}, "TFREC_TOKEN"),
    ],
)
def test_no_option_is_silently_dropped(published, programs, tmp_path, monkeypatch, words, environment, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("s3cret\n", "utf-8")
    arguments = ["serve", str(published / "shop"), "--server", "docker", *words]
    found = CliRunner().invoke(command, arguments, env=environment)
    assert found.exit_code == 2 and f"cannot honour {named}" in found.output
