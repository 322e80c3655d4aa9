"""Public archives become tables, and whatever goes wrong leaves nothing behind."""

import gzip
import hashlib
import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tfrec.data.public import amazon, movielens
from tfrec.data.public.download import SOURCES, download, sequence_digest

# Five users and two items that all of them rated; item 9 has too few ratings. Lines stand as in the original: by user,
# in no order of time; user 10 comes last in the file and by number, first as text.
RATINGS = """\
1::20::5::200
1::10::3::100
1::9::4::100
1::30::4::100
2::30::5::50
2::20::4::50
2::10::2::50
3::10::1::1
3::20::1::2
3::30::1::3
4::10::1::1
4::20::1::2
4::30::1::3
10::10::1::1
10::20::1::2
10::30::1::3
"""
MOVIES = "10::Misérables, Les (1995)::Drama|Musical\n20::Heat (1995)::Action\n30::Speed (1994)::Action\n9::Odd::Drama\n"
USERS = "".join(f"{user}::F::25::10::0246{user % 10}\n" for user in (1, 2, 3, 4, 10))
ORDER = ["1 10", "1 30", "1 20", "2 30", "2 20", "2 10", "3 10", "3 20", "3 30"]
ITEM_100K = "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
UNKNOWN_100K = "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text.encode("latin-1"))
    return path


@pytest.fixture
def ml_1m(tmp_path):
    members = {"ml-1m/ratings.dat": RATINGS, "ml-1m/movies.dat": MOVIES, "ml-1m/users.dat": USERS}
    return archive(tmp_path / "ml-1m.zip", members)


@pytest.fixture
def local(ml_1m):
    """The source `ml-1m`, but from the archive above."""
    md5 = hashlib.md5(ml_1m.read_bytes(), usedforsecurity=False).hexdigest()
    return replace(SOURCES["ml-1m"], files={ml_1m.as_uri(): md5})


def test_events_are_in_the_order_of_the_protocol(tmp_path, local):
    folder = download("ml-1m", tmp_path / "data", sources={"ml-1m": local})
    events = pd.read_csv(folder / "events.csv.gz", dtype=str)
    assert list(events.columns) == ["user_id", "position", "item_id", "rating", "timestamp"]
    assert (events["user_id"] + " " + events["item_id"]).tolist()[:9] == ORDER
    assert events["position"].tolist()[:6] == ["0", "1", "2", "0", "1", "2"]
    assert events["user_id"].iloc[-1] == "10"


def test_items_and_users_keep_their_text(tmp_path, local):
    folder = download("ml-1m", tmp_path / "data", sources={"ml-1m": local})
    items = pd.read_csv(folder / "items.csv.gz", dtype=str)
    users = pd.read_csv(folder / "users.csv.gz", dtype=str)
    assert items.loc[0].tolist() == ["10", "Misérables, Les (1995)", "Drama|Musical"]
    assert users["zip"].tolist()[0] == "02461"


def test_the_same_archive_gives_the_same_bytes(tmp_path, local):
    first, second = (download("ml-1m", tmp_path / name, sources={"ml-1m": local}) for name in "ab")
    for name in ("events.csv.gz", "items.csv.gz", "users.csv.gz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_another_order_is_named_and_the_right_one_confirmed(tmp_path, local, caplog):
    caplog.set_level(logging.INFO, logger="tfrec")
    events = pd.read_csv(download("ml-1m", tmp_path / "a", sources={"ml-1m": local}) / "events.csv.gz", dtype=str)
    assert "NOT those of this project's figures" in caplog.text
    caplog.clear()
    known = replace(local, digest=sequence_digest(events))
    download("ml-1m", tmp_path / "b", sources={"ml-1m": known})
    assert "their order are those of this project's figures" in caplog.text


def test_the_digest_is_of_users_by_number_and_events_in_order():
    events = pd.DataFrame({"user_id": ["10", "9", "9"], "item_id": ["3", "1", "2"], "timestamp": ["5", "7", "6"]})
    assert sequence_digest(events) == hashlib.sha256(b"9 2\n9 1\n10 3\n").hexdigest()


def test_the_first_archive_of_100k_too(tmp_path):
    members = {
        "ml-100k/u.data": "196\t1\t3\t881250949\n22\t267\t1\t878887116\n",
        "ml-100k/u.item": ITEM_100K + UNKNOWN_100K,
        "ml-100k/u.user": "1|24|M|technician|85711\n",
    }
    archive(tmp_path / "ml-100k.zip", members)
    tables = movielens.ml_100k(tmp_path)
    assert tables["items.csv.gz"].values.tolist() == [
        ["1", "Toy Story", "1995", "Animation Children's Comedy"],
        ["267", "unknown", "", "unknown"],
    ]
    assert tables["events.csv.gz"].values.tolist()[0] == ["196", "1", "3", "881250949"]
    assert list(tables["users.csv.gz"].columns) == ["user_id", "age", "gender", "occupation", "zip_code"]


def test_a_wrong_checksum_leaves_nothing(tmp_path, local):
    with pytest.raises(ValueError, match="has MD5 .* and 0.* is expected"):
        download("ml-1m", tmp_path / "data", sources={"ml-1m": replace(local, files=dict.fromkeys(local.files, "0"))})
    assert list((tmp_path / "data").iterdir()) == []


def test_an_archive_cut_short_leaves_nothing(tmp_path, ml_1m, local):
    ml_1m.write_bytes(ml_1m.read_bytes()[:200])
    with pytest.raises(ValueError, match="nothing was written"):
        download("ml-1m", tmp_path / "data", sources={"ml-1m": local})
    assert list((tmp_path / "data").iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path, local):
    def interrupted(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("ml-1m", tmp_path / "data", sources={"ml-1m": replace(local, tables=interrupted)})
    assert list((tmp_path / "data").iterdir()) == []


def test_no_network_is_said_with_the_address(tmp_path, local):
    gone = replace(local, files={(tmp_path / "gone.zip").as_uri(): None})
    with pytest.raises(OSError, match=r"gone\.zip could not be fetched .* nothing was written"):
        download("ml-1m", tmp_path / "data", sources={"ml-1m": gone})
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"readme": "x"}, "holds no ml-1m/ratings.dat"),
        ({"ml-1m/ratings.dat": "1::2::3\n"}, "ratings.dat, line 1: 3 cells, and 4 are expected"),
    ],
)
def test_another_archive_is_refused(tmp_path, members, message):
    archive(tmp_path / "ml-1m.zip", members)
    with pytest.raises(ValueError, match=message):
        movielens.ml_1m(tmp_path)


def test_what_is_there_stays(tmp_path, local):
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / "mine.csv").write_text("x")
    with pytest.raises(FileExistsError, match="is there already; remove it"):
        download("ml-1m", tmp_path, sources={"ml-1m": local})
    assert [path.name for path in (tmp_path / "ml-1m").iterdir()] == ["mine.csv"]


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="'ml-2m' is known; there are amazon-beauty, ml-100k, ml-1m"):
        download("ml-2m", tmp_path)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_the_digests_are_those_of_the_measured_tables(name):
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / name / "events.csv.gz"
    if not shared.exists():
        pytest.skip("the tables that were measured are not on this machine")
    assert sequence_digest(pd.read_csv(shared, dtype=str)) == SOURCES[name].digest


# Reviews by item, as in the original; of user B two on one day, and a later one of an item that comes first.
REVIEWS = [("A", "1", 50), ("B", "1", 90), ("B", "2", 70), ("A", "3", 40), ("B", "3", 70)]
PRODUCTS = [
    "{'asin': '1', 'title': 'Cr&egrave;me &amp; \\'care\\' 美'}",
    "{'asin': '9'}",
    "{'asin': '3', 'price': 1.5}",
]


@pytest.fixture
def beauty(tmp_path):
    """The source `amazon-beauty`, but from five reviews and three products."""
    told = [json.dumps({"reviewerID": u, "asin": i, "unixReviewTime": t, "overall": 5.0}) for u, i, t in REVIEWS]
    for name, lines in ((amazon.REVIEWS, told), (amazon.PRODUCTS, PRODUCTS)):
        (tmp_path / name).write_bytes(gzip.compress("\n".join(lines).encode()))
    files = {(tmp_path / name).as_uri(): None for name in (amazon.REVIEWS, amazon.PRODUCTS)}
    return replace(SOURCES["amazon-beauty"], files=files)


def test_reviews_become_events_by_day_then_by_item(tmp_path, beauty):
    folder = download("amazon-beauty", tmp_path / "data", sources={"amazon-beauty": beauty})
    events = pd.read_csv(folder / "events.csv.gz", dtype=str)
    assert (events.user_id + events.position + events.item_id).tolist() == ["A03", "A11", "B02", "B13", "B21"]
    items = pd.read_csv(folder / "items.csv.gz", dtype=str, keep_default_na=False)
    assert items.values.tolist() == [["1", "Cr&egrave;me  and  'care' 美"], ["2", ""], ["3", ""]]
    assert {path.name for path in folder.iterdir()} == {
        "events.csv.gz", "items.csv.gz", "cold_items.csv", "cold_items_validation.csv"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (amazon.REVIEWS, '{"asin": "1"}', "reviews_Beauty_5.json.gz, line 1: no review with reviewerID"),
        (amazon.REVIEWS, "<html>", "reviews_Beauty_5.json.gz, line 1: no review"),
        (amazon.PRODUCTS, "<html>", "meta_Beauty.json.gz, line 1: no product with an asin"),
        (amazon.PRODUCTS, "{'asin': '1', 'title': ", "meta_Beauty.json.gz, line 1: not a product"),
    ],
)
def test_other_files_than_reviews_are_refused(tmp_path, beauty, name, line, message):
    (tmp_path / name).write_bytes(gzip.compress(line.encode()))
    with pytest.raises(ValueError, match=message):
        download("amazon-beauty", tmp_path / "data", sources={"amazon-beauty": beauty})
    assert list((tmp_path / "data").iterdir()) == []


def test_reviews_cut_short_leave_nothing(tmp_path, beauty):
    path = tmp_path / amazon.REVIEWS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is cut short or damaged"):
        download("amazon-beauty", tmp_path / "data", sources={"amazon-beauty": beauty})
    assert list((tmp_path / "data").iterdir()) == []


def test_cold_lists_are_drawn_as_those_of_the_figures_were():
    shared = Path(__file__).resolve().parents[3] / "shared" / "data" / "amazon-beauty"
    if not shared.exists():
        pytest.skip("the tables that were measured are not on this machine")
    drawn = amazon.cold_lists(pd.read_csv(shared / "events.csv.gz", dtype=str))
    for name, items in drawn.items():
        assert items == sorted(pd.read_csv(shared / name, dtype=str)["item_id"])
