"""An unknown key is told in one line with the valid one that is meant, in sections and in what a user names."""

import pytest

from tfrec import config

SHOP = "name: shop\ndata: {simulated: {users: 10}}\n"
TABLES = "name: tables\ndata: {events: {path: log.csv, columns: {timestamp: at}}}\n"


def message(override: str, text: str = SHOP) -> str:
    with pytest.raises(ValueError) as caught:
        config.parse(text, [override], where="p.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.at_least=3", "unknown key model.at_least; the nearest valid key is data.events.labels.NAME.at_least"),
        ("model.dimm=3", "unknown key model.dimm; the nearest valid key is model.dim"),
        ("modle.dim=3", "unknown key modle; the nearest valid key is model"),
        ("model.epochs=3", "unknown key model.epochs; the nearest valid key is training.epochs"),
        (
            "model.attention.block=3",
            "unknown key model.attention.block; the nearest valid key is model.attention.blocks",
        ),
        ("data.simulated.user=3", "unknown key data.simulated.user; the nearest valid key is data.simulated.users"),
        ("qqq=1", "unknown key qqq; the nearest valid key is"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(override, told):
    assert told in message(override)


@pytest.mark.parametrize(
    ("labels", "unknown", "nearest"),
    [
        ("{click: {colum: clicked}}", "click.colum", "click.column"),
        ("{like: {column: stars, at_leest: 1}}", "like.at_leest", "like.at_least"),
        ("{s: {column: stars, rang: [1, 5]}}", "s.rang", "s.range"),
        ("{s:{column:stars,range:[1,5]}}", "s.column:stars", "s.column"),
        ("{v1.2: {column: stars, least: 1}}", "v1.2.least", "v1.2.at_least"),
        ("{click: {qqq: 1}}", "click.qqq", "click."),
    ],
)
def test_an_unknown_key_of_a_label_is_named_with_the_nearest(labels, unknown, nearest):
    where = "data.events.labels."
    told = message(f"data.events.labels={labels}", TABLES)
    assert f"unknown key {where}{unknown}; the nearest valid key is {where}{nearest}" in told
    assert (f"{where}{unknown.rpartition('.')[0]}.column is missing" in told) == ("column: " not in labels)
