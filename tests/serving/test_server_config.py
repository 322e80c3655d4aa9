import pytest

from tfrec.serving import server_config


def test_labels_are_read_back_and_other_models_stay(tmp_path):
    server_config.write(tmp_path, {"shop": {"stable": 3}})
    server_config.write(tmp_path, {"films": {"stable": 1, "canary": 2}})
    server_config.write(tmp_path, {"shop": {"stable": 4}})
    assert server_config.labels(tmp_path, "shop") == {"stable": 4}
    assert server_config.labels(tmp_path, "films") == {"canary": 2, "stable": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["models.config"]


def test_the_file_is_what_tensorflow_serving_reads(tmp_path):
    server_config.write(tmp_path, {"shop": {"stable": 3, "canary": 5}}, also=4)
    lines = (tmp_path / "models.config").read_text("utf-8").splitlines()
    body = " ".join(" ".join(line for line in lines if not line.startswith("#")).split())
    assert body == (
        f'model_config_list {{ config {{ name: "shop" base_path: "{tmp_path.resolve()}/shop" '
        'model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 3 versions: 4 versions: 5 } } "
        'version_labels { key: "canary" value: 5 } version_labels { key: "stable" value: 3 } } }'
    )


def test_there_are_no_labels_without_a_file(tmp_path):
    assert server_config.labels(tmp_path, "shop") == {}


@pytest.mark.parametrize("text", ["model_config_list { config { surprise: 1 } }", "{", "\xff"])
def test_a_file_that_cannot_be_kept_is_not_lost(tmp_path, text):
    (tmp_path / "models.config").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="models.config is not a model list that tfrec can keep"):
        server_config.write(tmp_path, {"shop": {"stable": 1}})
    assert (tmp_path / "models.config").read_bytes() == text.encode("latin-1")


def test_defaults_are_written_once_and_then_left_alone(tmp_path):
    server_config.write_defaults(tmp_path, "shop")
    names = ["README.md", "batching_params.pbtxt", "monitoring.config"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "/v1/models/shop/labels/stable:predict" in (tmp_path / "README.md").read_text("utf-8")
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: false }")
    server_config.write_defaults(tmp_path, "shop")
    assert (tmp_path / "monitoring.config").read_text() == "prometheus_config { enable: false }"
    assert "max_batch_size { value: 256 }" in (tmp_path / "batching_params.pbtxt").read_text()


def test_what_tensorflow_serving_knows_besides_is_kept(tmp_path):
    text = (
        'model_config_list { config { name: "other" base_path: "/o" model_platform: "tensorflow" logging_config {} } }'
    )
    (tmp_path / "models.config").write_text(text)
    server_config.write(tmp_path, {"shop": {"stable": 1}})
    assert "logging_config" in (tmp_path / "models.config").read_text()
