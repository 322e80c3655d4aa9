"""benchmarks/index.py measures what an export with an index does, on vectors that it makes up."""

import sys

import pytest

from tests.benchmark_scripts import ROOT
from tfrec.serving import ExportOptions


@pytest.fixture(scope="module")
def index():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import index

        yield index
    del sys.modules["index"]


@pytest.fixture(scope="module")
def shop(index):
    return index.Shop.of(2000, 40, users=60)


def test_users_have_turned_to_one_topic(index, shop):
    lists = shop.histories("test")
    assert len(lists.user_ids) == 30 and len(lists.rows) == lists.offsets[-1] == 30 * index.EVENTS
    recent = shop.vectors[shop.rows[:, -index.RECENT :]]
    alike = (recent[:, 0] * recent[:, 1]).sum(axis=1)
    assert alike.mean() > 10 * abs((recent[:, 0] * recent[::-1, 1]).sum(axis=1).mean())


def test_an_export_with_an_index_is_measured(index, shop):
    found = index.measure(index.RecentMean(shop.vectors), shop, ExportOptions("int8", "ivf", recall=0.9))
    assert found["recall@10"] >= 0.9 and found["options"]["index"]["kind"] == "ivf"
    assert found["variables_bytes"] < shop.vectors.nbytes and found["milliseconds"]["p50"] > 0
