"""A cold user with only a sentence: real titles, the real MiniLM, and the exported text model."""

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from tfrec import build, config
from tfrec.data import ItemColumns, PrepareOptions, prepare
from tfrec.serving import export, export_text, load
from tfrec.towers.text import MINILM_PACKAGE

BEAUTY = Path(__file__).parents[3] / "shared" / "data" / "amazon-beauty" / "items.csv.gz"
KINDS = {
    "nail": "Essie Nail Polish, Ballet Slippers; OPI Lacquer, Cajun Shrimp 0.5 oz; Sally Hansen Insta-Dri Nail Color; "
    "Gelish Soak Off Gel Polish, Red; China Glaze Nail Enamel, Ruby Pumps; Zoya Nail Color, Pippa; "
    "Orly Nail Varnish, Monroe's Red; Butter London Nail Lacquer, Black",
    "hair": "Aussie Moist Shampoo; Moroccanoil Hair Treatment; Redken Curvaceous Conditioner; Ouidad Curl Detangler; "
    "John Frieda Frizz Ease Serum; Kinky-Curly Custard Gel; Biolage Hydrating Shampoo; Argan Oil Hair Mask",
    "scent": "Calvin Klein Euphoria Eau de Parfum; Davidoff Cool Water Cologne; Jean Nate Body Splash; "
    "Clean Warm Cotton Perfume Spray; Vera Wang Princess Eau de Toilette; Nautica Voyage Cologne for Men; "
    "Elizabeth Taylor White Diamonds; Bvlgari Aqva Pour Homme",
    "sun": "Neutrogena Ultra Sheer Sunscreen SPF 55; EltaMD UV Clear SPF 46; Coppertone Sport Lotion SPF 30; "
    "Blue Lizard Australian Sunscreen; Badger Unscented Sun Cream; La Roche-Posay Anthelios 60; "
    "Hawaiian Tropic Tanning Oil; Banana Boat Kids SPF 50",
    "shave": "Gillette Fusion Razor Blades; Barbasol Shaving Cream; Proraso Pre-Shave Cream; Feather Razor Blades; "
    "Merkur Safety Razor; Nivea Men After Shave Balm; Edge Shave Gel; Taylor of Old Bond Street Shaving Soap",
}  # fmt: skip
ITEMS = pd.DataFrame(
    [(kind, title) for kind, titles in KINDS.items() for title in titles.split("; ")], columns=["kind", "title"]
)
ITEMS["item_id"] = [f"i{one}" for one in range(len(ITEMS))]
ITEMS["side"] = np.arange(len(ITEMS)) % 2  # Users keep to one side, of which no title says anything.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(find_spec(MINILM_PACKAGE) is None, reason="the MiniLM weights are not installed"),
]
SETTINGS = config.Model(text=config.Text(source="minilm"), dim=32, id_dropout=0.3)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def exported(model, data, folder):
    """The model and its text model, as a run leaves them."""
    plain = export(model, data, folder / "export", k_max=40)
    encoder = build.text_encoder(SETTINGS.text)
    export_text(model, data, encoder, folder / "export_text", k_max=40, version=int(plain.name))
    return load(plain)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop whose users keep to one side of the catalogue, quickly learnt."""
    rng = np.random.default_rng(0)
    sides = [ITEMS.item_id[ITEMS.side == side].to_numpy() for side in (0, 1)]
    what = np.concatenate([rng.choice(sides[user % 2], 8, replace=False) for user in range(200)])
    events = pd.DataFrame({"user_id": np.repeat(np.arange(200).astype(str), 8), "item_id": what})
    events["position"] = np.tile(np.arange(8), 200)
    data = prepare(events, ITEMS, options=PrepareOptions(items=ItemColumns(), seen="keep"))
    model = build.two_tower(data, SETTINGS, seed=1)
    model.compile(optimizer=keras.optimizers.AdamW(0.01))
    model.fit(data.train(512), epochs=40, verbose=0)
    return exported(model, data, tmp_path_factory.mktemp("shop"))


def asked(shop, text, history=(), k=8):
    return ITEMS.set_index("item_id").loc[shop.recommend([list(history)], k, texts=[text]).item_id]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nail polish", "nail"),
        ("something for my curly hair", "hair"),
        ("a perfume as a gift", "scent"),
        ("sun protection for the beach", "sun"),
        ("razor for men's shaving", "shave"),
    ],
)
def test_a_sentence_alone_is_answered_by_its_meaning(shop, text, kind):
    assert (asked(shop, text, k=5).kind == kind).sum() >= 4  # Eight items of forty are of the kind.


def test_a_history_counts_beside_a_sentence(shop):
    """Those of the kind first, and of them those of the side that the user keeps to."""
    for side in (0, 1):
        others = ITEMS.item_id[(ITEMS.side == side) & (ITEMS.kind == "shave")]
        answer = asked(shop, "nail polish", others)
        assert (answer.kind[:4] == "nail").all()
        assert (answer.side[:4] == side).sum() >= 3
        assert (asked(shop, "", others).side[:8] == side).sum() >= 7


def test_without_a_sentence_the_answer_is_that_of_a_new_user(shop):
    assert asked(shop, " ").index.tolist() == shop.recommend([[]], 8).item_id.tolist()


@pytest.mark.skipif(not BEAUTY.exists(), reason="needs ../shared/data/amazon-beauty")
def test_nail_polish_finds_nail_products_among_real_titles(tmp_path):
    """Every fortieth title of Amazon Beauty; a model that has not been trained, but reads the titles."""
    titles = pd.read_csv(BEAUTY, dtype=str).iloc[::40].reset_index(drop=True)
    ids = titles.item_id.tolist()
    events = pd.DataFrame(
        {"user_id": [str(one) for one in range(len(ids) // 3)] * 3, "item_id": ids[: len(ids) // 3 * 3]}
    )
    data = prepare(events.assign(position=range(len(events))), titles, options=PrepareOptions(items=ItemColumns()))
    untrained = exported(build.two_tower(data, SETTINGS, seed=1), data, tmp_path)
    is_nail = lambda found: found.title.str.contains("nail|polish|lacquer|gelish", case=False)  # noqa: E731
    assert is_nail(titles).mean() < 0.15
    assert is_nail(untrained.recommend([[]], 10, texts=["nail polish"])).sum() >= 8
    assert is_nail(untrained.recommend([[]], 10)).sum() <= 5
