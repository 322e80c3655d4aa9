import unicodedata

import pytest
import tensorflow as tf

from tests import tiny_text
from tfrec.towers.text_models import TextModel
from tfrec.towers.text_vocabulary import BYTES, END, SPECIAL, byte_pairs, word_pieces

UNKNOWN = SPECIAL.index("[UNK]")
SCRIPTS = {
    "latin": ["Running shoes, size 9 1/2!", "It's 100% café crème — naïve", "ＦＵＬＬ Ｗｉｄｔｈ ﬁne™"],
    "chinese": ["跑步鞋 男士", "红色跑鞋", "黑色皮鞋，防水"],
    "japanese": ["ランニングシューズ", "がぎぐげご 靴"],
    "korean": ["한국어 가방", "신발 가방"],
    "other": ["हिन्दी जूते", "รองเท้าวิ่ง", "ΟΔΟΣ İstanbul straße", "кроссовки", "أحذية الجري"],
    "emoji": ["🎁", "👨‍👩‍👧 ❤️", "🔥🔥"],
}


def pieces(tokenizer, texts):
    """The pieces of each text, as the model reads it, without its marks."""
    model = TextModel("tiny", tokenizer, None, "mean", 64)
    ids, lengths = model.tokens(tf.constant(texts))
    rows = [row[1 : end - 1] for row, end in zip(ids.numpy(), lengths.numpy(), strict=True)]
    return [[tokenizer.id_to_token(int(token)) for token in row] for row in rows]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_word_of_the_texts_is_unknown(script):
    read = pieces(word_pieces(SCRIPTS[script], 2000), SCRIPTS[script])
    assert all(row and "[UNK]" not in row for row in read)


def test_frequent_words_become_pieces_and_rare_ones_fall_apart():
    texts = tiny_text.titles()
    (row,) = pieces(word_pieces(texts, 200), ["Red running shoes HAT shat"])
    assert row[:4] == ["red", "running", "shoes", "hat"]
    assert row[4].startswith("s") and len(row) > 5


def test_chinese_characters_stand_alone_and_words_are_lower_case():
    tokenizer = word_pieces(["跑步鞋Nike", "Nike跑步鞋", "NIKE"], 100)
    assert pieces(tokenizer, ["跑步nike鞋"]) == [["跑", "步", "nike", "鞋"]]


def test_a_character_is_known_at_either_place_of_a_word():
    tokenizer = word_pieces(["a🎁 b", "🔥"], 100)
    assert pieces(tokenizer, ["🎁a 🔥b b🔥"]) == [["🎁", "##a", "🔥", "##b", "b", "##🔥"]]


def test_blanks_of_any_kind_part_words():
    tokenizer = word_pieces(["red\u00a0hat\u3000blue\that\u200bcoat", "red hat blue coat"], 100)
    assert pieces(tokenizer, ["red\u00a0hat\u2003blue"]) == [["red", "hat", "blue"]]


def test_scripts_without_blanks_are_read_in_parts():
    texts = ["ครีมกันแดดสำหรับผิวหน้าและผิวกายสูตรกันน้ำ", "ยาทาเล็บสีแดงแห้งเร็วสำหรับผู้หญิงทุกวัย", "x" * 250]
    tokenizer = word_pieces(texts, 200)
    for row, text in zip(pieces(tokenizer, texts), texts, strict=True):
        assert "[UNK]" not in row
        assert "".join(piece.removeprefix("##") for piece in row) == unicodedata.normalize("NFKC", text)


def test_accents_are_kept_where_the_texts_have_some():
    assert pieces(word_pieces(["café", "cafe"], 100), ["é", "e"]) == [["é"], ["e"]]
    assert pieces(word_pieces(["cafe"], 100), ["café"]) == pieces(word_pieces(["cafe"], 100), ["cafe"])


def test_a_vocabulary_is_no_larger_than_asked_and_keeps_the_frequent_characters():
    texts = ["aaaa bbbb", "aaaa c", "跑", "aaaa bbbb"]
    tokenizer = word_pieces(texts, 9)
    assert tokenizer.vocabulary_size() == 9
    assert pieces(tokenizer, ["aa", "c跑"]) == [["a", "##a"], ["[UNK]", "[UNK]"]]
    assert word_pieces(texts, 5000).vocabulary_size() < 40


@pytest.mark.parametrize("learn", [word_pieces, byte_pairs])
def test_the_same_texts_give_the_same_vocabulary(learn):
    texts = tiny_text.titles()
    first, second = (learn(texts, 400) for _ in range(2))
    assert first.get_vocabulary() == second.get_vocabulary()
    assert len(set(first.get_vocabulary())) == first.vocabulary_size()


def test_bytes_give_every_text_back():
    texts = [text for some in SCRIPTS.values() for text in some]
    tokenizer = byte_pairs(texts, 400)
    ids = tf.function(tokenizer)(tf.constant(texts))
    assert [str(text) for text in tokenizer.detokenize(ids)] == texts
    assert tokenizer.token_to_id(END) == tokenizer.end_token_id
    assert BYTES < tokenizer.vocabulary_size() <= 400
    assert ids.flat_values.shape[0] < 0.8 * sum(len(text.encode()) for text in texts)


def test_bytes_of_texts_that_repeat_nothing_are_joined_all_the_same():
    assert byte_pairs(["ab"], 300).merges == ["a b"]


def test_what_leaves_no_room_is_refused():
    with pytest.raises(ValueError, match=r"`size` must be above 5, the special tokens; received 5"):
        word_pieces(["a"], 5)
    with pytest.raises(ValueError, match=r"`size` must be 258 or more for byte-level BPE; received 257"):
        byte_pairs(["ab"], 257)
    with pytest.raises(ValueError, match=r"`texts` hold no word of two bytes"):
        byte_pairs(["a", "b"], 300)
    with pytest.raises(ValueError, match=r"`texts` hold no word"):
        word_pieces(["\u200b", "\u3000"], 100)
