"""Augmented texts: which words go and move, that something always stays, and that the seed alone says what."""

import numpy as np
import pytest
import tensorflow as tf

from tfrec.towers.text_augmentation import TextAugmentation

LONG = " ".join(f"w{place}" for place in range(400))


def changed(texts, drop=0.0, swap=0.0, seed=1):
    return [text.decode() for text in TextAugmentation(drop, swap)(texts, seed).numpy().tolist()]


def test_a_share_of_the_words_is_deleted_and_the_rest_stays_in_order():
    left = changed([LONG], drop=0.3)[0].split()
    assert 0.6 < len(left) / 400 < 0.8
    assert left == [word for word in LONG.split() if word in left]


def test_a_share_of_the_words_changes_places_and_none_is_lost():
    moved = changed([LONG], swap=0.3)[0].split()
    assert sorted(moved) == sorted(LONG.split())
    elsewhere = np.mean([one != other for one, other in zip(moved, LONG.split(), strict=True)])
    assert 0.2 < elsewhere < 0.4


def test_words_of_one_text_do_not_get_into_another():
    texts = [LONG, LONG.replace("w", "v"), LONG.replace("w", "u")]
    for text, found in zip(texts, changed(texts, drop=0.3, swap=0.5), strict=True):
        assert set(found.split()) < set(text.split()) and len(found.split()) > 200


def test_something_of_every_text_is_left_and_no_character_is_cut():
    texts = ["shoes", "跑步鞋 男士", "靴", "Café crème brûlée", "🎁 box 👨‍👩‍👧", "ラーメン", "รองเท้าวิ่ง"]
    for seed in range(8):
        for text, found in zip(texts, changed(texts, drop=0.95, swap=0.5, seed=seed), strict=True):
            assert found.strip() and "\x1f" not in found
            assert set(found) <= set(text)


def test_each_chinese_character_is_a_word_and_no_blank_comes_between():
    found = changed(["跑步鞋男士夏季透气网面" * 5], drop=0.3)[0]
    assert 25 < len(found) < 50 and " " not in found
    assert changed(["跑步鞋 nike 男士"], swap=1e-9) == ["跑步鞋 nike 男士"]


def test_empty_texts_stay_empty():
    assert changed(["", "  ", "\u3000"], drop=0.5, swap=0.5) == ["", "", ""]
    assert changed([], drop=0.5) == []


def test_what_is_done_follows_from_the_text_and_the_seed():
    texts = [f"{LONG} {number}" for number in range(4)]
    found = changed(texts, drop=0.2, swap=0.2, seed=5)
    assert found == changed(texts, drop=0.2, swap=0.2, seed=5)
    assert changed(texts[2:3], drop=0.2, swap=0.2, seed=5) == found[2:3]
    others = [found, *(changed(texts, drop=0.2, swap=0.2, seed=seed) for seed in (6, [5, 0], [5, 1]))]
    assert len({text for each in others for text in each}) == 16
    graph = tf.function(lambda words, seed: TextAugmentation(0.2, 0.2)(words, seed), autograph=False)
    assert [text.decode() for text in graph(tf.constant(texts), tf.constant(5)).numpy()] == found


def test_what_would_leave_nothing_or_change_nothing_is_refused():
    for drop, swap, told in ((1.0, 0.1, "`drop` must"), (0.1, -1, "`swap` must"), (0, 0, "both 0")):
        with pytest.raises(ValueError, match=told):
            TextAugmentation(drop, swap)
