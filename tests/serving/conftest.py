"""A tiny model with every kind of input, untrained but with weights that tell items apart, and its export."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from tfrec.data.vocabulary import Vocabulary
from tfrec.retrieval import FullSoftmax, TwoTower
from tfrec.serving import gate, manifest
from tfrec.serving.exporter import export
from tfrec.towers import BehaviorTower, ItemTower, LiGRBlock, LSTMEncoder, SelfAttentionEncoder

DIM = 8
MAX_LENGTH = 5
K_MAX = 6
# Odd ids on purpose: leading zeros, blanks, a tab, a quote, Chinese, an emoji.
IDS = ["007", "7", " spaced ", "tab\tid", 'quo"te', "商品", "🎬", "a,b", *(f"item{i}" for i in range(12))]
NOT_CANDIDATES = [4, 9]


@dataclass
class Data:
    """What an export needs of a data set."""

    items: pd.DataFrame
    vocabularies: dict
    seen: str = "remove"
    max_length: int = MAX_LENGTH
    manifest: dict = field(default_factory=lambda: {"content_hash": "abc"})


def make_data(**changes) -> Data:
    items = pd.DataFrame({"item_id": ["", *IDS], "title": ["", *(f"Title of {item}" for item in IDS)]})
    vocabularies = {
        "event_type": Vocabulary(["buy", "view"]),
        "event_my device": Vocabulary(["line\nbreak", "phone", "中文"]),
        "user_country": Vocabulary(["NA", "US"]),
    }
    return Data(**{"items": items, "vocabularies": vocabularies, **changes})


def make_model(*, rich: bool = True, similarity: str = "dot", **changes) -> TwoTower:
    keras.utils.set_random_seed(3)
    rows = len(IDS) + 1
    inputs = {
        "event_columns": {"event_type": 3, "my device": 4},
        "user_columns": {"country": 3},
        "timestamps": True,
    }
    encoders = [SelfAttentionEncoder([LiGRBlock(DIM, 2, max_length=MAX_LENGTH, timestamps=rich)]), LSTMEncoder(DIM)]
    model = TwoTower(
        ItemTower(DIM, rows),
        BehaviorTower(DIM, encoders if rich else encoders[:1], **(inputs if rich else {})),
        FullSoftmax(np.arange(1, rows)),
        similarity=similarity,
        **{"candidates": [row for row in range(1, rows) if row not in NOT_CANDIDATES], **changes},
    )
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="session")
def data():
    return make_data()


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def exported(model, data, tmp_path_factory):
    """A version folder that tests must not change."""
    about = {"settings": {"dim": DIM}, "metrics": {"hr@10": np.float32(0.5)}}
    return export(model, data, tmp_path_factory.mktemp("export"), k_max=K_MAX, about=about)


@pytest.fixture(scope="session")
def ranker():
    from tests.serving.rankers import make_ranker

    return make_ranker()


@pytest.fixture(scope="session")
def exported_ranker(ranker, tmp_path_factory):
    """A ranker's version folder that tests must not change."""
    from tests.serving.rankers import ranker_data

    return export(ranker, ranker_data(), tmp_path_factory.mktemp("export_ranker"))


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    """A version folder that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "copy" / "1"))


@pytest.fixture(scope="session")
def loaded(exported):
    from tfrec.serving import load

    return load(exported)


@pytest.fixture
def unasked(monkeypatch):
    """Versions are held to their files alone, quickly; `test_gate` tests what else is asked of them."""
    monkeypatch.setattr(gate, "verify", lambda folder, **how: {"asked_in": []} if manifest.verify(folder) else {})
    monkeypatch.setattr(gate, "compare", lambda new, old, limits: {})


def another(copied: Path, number: int) -> Path:
    """The same model under another number, told apart by its manifest."""
    target = copied.parent.parent / "exports" / str(number)
    shutil.copytree(copied, target)
    return changed(target, "fingerprint.pb", b"")


def changed(version: Path, name: str, content: bytes) -> Path:
    """A version with another content of a file, and a manifest that says so."""
    (version / name).write_bytes(content)
    path = version / "assets.extra" / "manifest.json"
    told = json.loads(path.read_text("utf-8"))
    told["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(told), "utf-8")
    return version


@pytest.fixture
def root(tmp_path):
    return tmp_path / "saved_models"


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """The folders of a model and of its text model, of one number."""
    from tests.serving import words
    from tfrec.serving.text_exporter import export_text

    text, folder = words.bert(), tmp_path_factory.mktemp("pair")
    model = words.two_tower(text)
    plain = export(model, make_data(), folder / "export")
    return plain, export_text(model, make_data(), words.encoder(text), folder / "export_text", version=1)
