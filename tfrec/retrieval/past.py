"""What users had had before each target of a batch; objectives leave it out of what a target competes with."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class Past:
    """The items of the histories, as seen from the positions of a batch.

    Position n is the state after s events of a user, whose past are these s events.
    """

    def __init__(self, history: Any, where: Any) -> None:
        """Hold the histories.

        Args:
            history: int [B, T], rows of the catalogue, right-padded.
            where: int64 [N, 2], the row of the batch and the number of events s of each position.
        """
        self.history, where = history, tf.cast(where, tf.int32)
        self._users, self._read = where[:, 0], where[:, 1]

    def holds_places(self, places: Any, count: int) -> Any:
        """Bool [N, count]: whether a position's past holds each of `count` items.

        Args:
            places: int [B, T], the place of each event's item among them; `count` for others.
            count: number of items.
        """
        shape = tf.shape(places)
        users = tf.broadcast_to(tf.range(shape[0])[:, None], shape)
        index = tf.stack([users, places], axis=-1)
        never = tf.fill([shape[0], count + 1], shape[1])
        return self._before(tf.tensor_scatter_nd_min(never, index, self._steps())[:, :count])

    def pairs(self, places: Any, own: Any) -> Any:
        """Each position with each item of its past, int64 [M, 2]; an item that was had twice comes twice.

        Args:
            places: int [B, T], the place of each event's item; -1 for items that are none.
            own: int [N], the place of each position that is left out.
        """
        each = tf.gather(places, self._users)
        held = (self._steps()[:1] < self._read[:, None]) & (each >= 0) & (each != own[:, None])
        found = tf.where(held)
        return tf.stack([found[:, 0], tf.cast(tf.gather_nd(each, found), tf.int64)], axis=-1)

    def holds(self, rows: Any) -> Any:
        """Bool [N, C]: whether a position's past holds each of the rows int [C], which may repeat; for few of them."""
        same = self.history[:, :, None] == rows[None, None, :]
        return self._before(tf.reduce_min(tf.where(same, self._steps()[:, :, None], tf.shape(same)[1]), axis=1))

    def _steps(self) -> Any:
        """Int [B, T]: 0 for the first event, 1 for the next."""
        shape = tf.shape(self.history)
        return tf.broadcast_to(tf.range(shape[1])[None], shape)

    def _before(self, first: Any) -> Any:
        """Bool [N, C] of the step, int [B, C], at which a user first had each item."""
        return tf.gather(first, self._users) < self._read[:, None]
