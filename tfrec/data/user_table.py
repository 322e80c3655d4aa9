"""The table of users beside the users of the events, who come part by part; their features are made for `draft`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfrec.data.vocabulary import Vocabulary
from tfrec.features import USER_ID, USER_TEXT, user_feature


class UserTable:
    """The users' columns.

    Args:
        users: what `read_users` returned.
    """

    def __init__(self, users: pd.DataFrame) -> None:
        self._users = users
        self._index = pd.Index(users[USER_ID])
        self._codes: dict[str, np.ndarray] = {}

    def marked(self, user_ids: np.ndarray) -> np.ndarray:
        """Which rows of the table are of some users, bool."""
        rows = self._rows(user_ids)
        result = np.zeros(len(self._users), bool)
        result[rows[rows >= 0]] = True
        return result

    def vocabularies(
        self, met: np.ndarray, trains: np.ndarray, first: str | None
    ) -> Iterator[tuple[str, str, Vocabulary]]:
        """Each column's name, the feature that it becomes, and its vocabulary.

        Args:
            met: bool [rows], who has events.
            trains: bool [rows], who has training events.
            first: the first user of the events.

        Raises:
            ValueError: no user of the events is in the table.
        """
        if not met.any():
            raise ValueError(
                f"No user of the events, such as {first!r}, is in the table 'users', which has"
                f" {self._users[USER_ID].iloc[0]!r}: the ids must be written alike."
            )
        for name in self._users.columns.drop(USER_ID):
            values = self._users[name]
            vocabulary = Vocabulary.of(values[trains].unique())
            if name == USER_TEXT and len(vocabulary):
                vocabulary = Vocabulary.of(values[met].unique())
            yield name, USER_TEXT if name == USER_TEXT else user_feature(name), vocabulary

    def codes(self, feature: str, vocabulary: Vocabulary, user_ids: np.ndarray) -> np.ndarray:
        """Codes of a feature, int32 [U]; 0 for users that the table lacks."""
        name = feature if feature == USER_TEXT and USER_TEXT in self._users else feature.removeprefix("user_")
        if feature not in self._codes:
            self._codes[feature] = np.append(vocabulary.codes(self._users[name]), np.int32(0))
        return self._codes[feature][self._rows(user_ids)]

    def _rows(self, user_ids: np.ndarray) -> np.ndarray:
        """Row of each user in the table, -1 for those that it lacks."""
        return self._index.get_indexer(pd.Index(user_ids, dtype="str"))
