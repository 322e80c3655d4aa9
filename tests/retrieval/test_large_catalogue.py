"""What is computed for a few rows or users at a time is what is computed at once."""

import numpy as np
import pytest

from tests.retrieval import cycles
from tfrec.retrieval import item_vectors as chunks
from tfrec.retrieval import ranks, recommend, two_tower


@pytest.fixture
def small(monkeypatch):
    """Bounds that a catalogue of 12 rows exceeds."""
    for module in (chunks, two_tower):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(ranks, "SCORES_AT_ONCE", 3 * cycles.ITEMS)


def answers(model):
    """Figures of an evaluation, vectors, and a table of recommendations."""
    batches = cycles.as_dataset(cycles.test_batch(), cycles.test_batch(users=2, length=2))
    ids = ["", *(f"i{row}" for row in cycles.ROWS)]
    figures = model.evaluate(batches, verbose=0, return_dict=True)
    return figures, model.item_vectors().numpy(), recommend(model, batches, ids, k=4)


def test_parts_of_a_catalogue_add_up_to_the_whole(request):
    model = cycles.two_tower("sampled_softmax", similarity="cosine")
    figures, vectors, table = answers(model)
    request.getfixturevalue("small")
    model.make_test_function(force=True)
    parted = answers(model)
    assert parted[0] == pytest.approx(figures)
    np.testing.assert_allclose(parted[1], vectors, atol=1e-6)
    assert parted[2].drop(columns="score").equals(table.drop(columns="score"))
    np.testing.assert_allclose(parted[2]["score"], table["score"], atol=1e-5)
