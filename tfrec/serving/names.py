"""What an exported model calls its signatures, inputs and outputs, for the graphs, the server and the client."""

SERVING_DEFAULT, RECOMMEND_FULL = "serving_default", "recommend_full"
RECOMMEND_DELIMITED, RECOMMEND_FILTERED = "recommend_delimited", "recommend_filtered"
EMBED_QUERY, EMBED_ITEM, SIMILAR_ITEMS = "embed_query", "embed_item", "similar_items"
ALLOW_ITEMS, DENY_ITEMS = "allow_items", "deny_items"
ALLOW_CATEGORIES, DENY_CATEGORIES = "allow_categories", "deny_categories"
ITEM_IDS, SCORES = "item_ids", "scores"
VECTOR, KNOWN = "vector", "known"
# Between the ids of a delimited history: the one character that no id has.
DELIMITER = "\n"
