"""The recommended order, for one process: the model that is shown, set beside the listing's rows.

The model is looked for every few seconds and loaded when it is another one. Positions of a listing
only grow within a generation, so vectors are set beside them once, and new hotels added as they
come, placed by their features.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt

from catalogue.feedback import TasteShelf
from catalogue.follower import Snapshot
from catalogue.listing import Index
from catalogue.taste import Floats, TasteModel, features
from errors import BerthError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
# How much the rating of a hotel says beside what people looked at.
RATING_SHARE = np.float32(0.02)

Scores = npt.NDArray[np.float64]


class Recommender:
    """Shared by threads. Without a model, or without Valkey, the listing keeps its general order.
    """

    def __init__(self, shelf: TasteShelf) -> None:
        self._shelf = shelf
        self._lock = Lock()
        self._model: TasteModel | None = None
        self._looked_s = float("-inf")
        self._generation = 0
        self._factors: Floats = np.zeros((0, 0), np.float32)
        self._general: Floats = np.zeros(0, np.float32)

    @property
    def version(self) -> str:
        """Of the model that orders now; empty without one. A look costs a round trip at times."""
        model = self._current()
        return model.version if model is not None else ""

    def general(self, snapshot: Snapshot) -> Scores | None:
        """Scores for somebody of whom nothing is known, one per position of the index."""
        return self._scores(snapshot, None)

    def personal(
        self, snapshot: Snapshot, visitor: str, seen: Sequence[str]
    ) -> Scores | None:
        """Scores for a visitor: what the model learned of them, else of the hotels that they saw,
        the latest first. None when neither is known to it.
        """
        model = self._current()
        if model is None:
            return None
        try:
            taste = self._shelf.taste(model, visitor)
        except BerthError as error:
            log.warning("no taste: %s", error)
            taste = None
        if taste is None:
            taste = model.taste_of_seen(list(reversed(seen)))
        return None if taste is None else self._scores(snapshot, taste)

    def _scores(self, snapshot: Snapshot, taste: Floats | None) -> Scores | None:
        model = self._current()
        if model is None:
            return None
        factors, general = self._beside(model, snapshot)
        scores = general + RATING_SHARE * snapshot.index.general_scores().astype(np.float32)
        if taste is not None:
            scores = scores + factors @ taste
        return scores.astype(np.float64)

    def _current(self) -> TasteModel | None:
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S or not self._lock.acquire(blocking=False):
            return self._model
        try:
            self._looked_s = now_s
            version = self._shelf.version()
            if version is None:
                self._model = None
            elif self._model is None or self._model.version != version:
                self._model = self._shelf.load()
                self._generation = 0
        except BerthError as error:
            log.warning("the recommended order stays as it is: %s", error)
        finally:
            self._lock.release()
        return self._model

    def _beside(self, model: TasteModel, snapshot: Snapshot) -> tuple[Floats, Floats]:
        """Vectors and general scores, one per position of this snapshot's index."""
        index, generation = snapshot.index, snapshot.cursor.generation
        count = len(index.ids)
        with self._lock:
            if self._generation != generation or self._factors.shape[1:] != (model.width,):
                self._generation = generation
                self._factors = np.zeros((0, model.width), np.float32)
                self._general = np.zeros(0, np.float32)
            first = len(self._factors)
            if count > first:
                fresh = {
                    index.ids[position]: _features(index, position)
                    for position in range(first, count)
                }
                aligned = model.aligned(fresh)
                self._factors = np.concatenate([self._factors, aligned.factors])
                self._general = np.concatenate([self._general, aligned.scores(None)])
            return self._factors[:count], self._general[:count]


def _features(index: Index, position: int) -> tuple[str, ...]:
    facts = index.facts(position)
    return features(
        city=facts.city, country=facts.country, stars=facts.stars, hotel_type=facts.type,
        amenities=facts.amenities,
        price=None if facts.price_cents is None else facts.price_cents / 100,
    )
