"""What an exported model calls its signatures, inputs and outputs, for the graphs, the server and the client."""

SERVING_DEFAULT, RECOMMEND_FULL, RECOMMEND_FILTERED = "serving_default", "recommend_full", "recommend_filtered"
EMBED_QUERY, EMBED_ITEM, SIMILAR_ITEMS = "embed_query", "embed_item", "similar_items"
# The forms of rank 1; a history in them is one string, its ids parted by the one character that no id has.
SUFFIX, DELIMITER = "_delimited", "\n"
RECOMMEND_DELIMITED, EMBED_QUERY_DELIMITED = "recommend" + SUFFIX, EMBED_QUERY + SUFFIX
FULL_DELIMITED, FILTERED_DELIMITED = RECOMMEND_FULL + SUFFIX, RECOMMEND_FILTERED + SUFFIX
ALLOW_ITEMS, DENY_ITEMS = "allow_items", "deny_items"
ALLOW_CATEGORIES, DENY_CATEGORIES = "allow_categories", "deny_categories"
ITEM_IDS, SCORES = "item_ids", "scores"
# Of a ranker, which judges `candidates`; its outputs are called as the labels are.
PREDICT_FULL = "predict_full"
VECTOR, KNOWN, KNOWN_EVENTS = "vector", "known", "known_events"
