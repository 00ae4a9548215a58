"""The RQ job that trains the taste model: reads the catalogue and the feedback, shows the model."""

from __future__ import annotations

import logging
import time

import bootstrap
import shapes
from catalogue.feedback import FeedbackStore, TasteShelf
from catalogue.rows import Row
from catalogue.taste import features_of
from catalogue.training import TooLittleFeedback
from catalogue.training import train as learn
from settings import load

log = logging.getLogger(__name__)


def train() -> int:
    """Train on all feedback that is kept; returns how many visitors were learned from, 0 if too
    few. Raises EngineAway, CatalogueBuilding.
    """
    settings = load()
    with (bootstrap.connect_mongo(settings) as mongo,
          bootstrap.connect_catalogue_valkey(settings, connections=2) as valkey):
        store = FeedbackStore(bootstrap.database(settings, mongo))
        learned_from = store.count()
        reader = bootstrap.catalogue_reader(valkey)
        hotels = {
            hotel_id: features_of(shapes.decode(row, Row))
            for some in reader.rows(reader.standing().generation)
            for hotel_id, row in some.items()
        }
        try:
            found = learn(store.seen(), hotels, version=f"{time.time_ns() // 1_000_000:x}")
        except TooLittleFeedback as little:
            log.info("not trained: %s", little)
            return 0
        TasteShelf(valkey).put(found.model, found.tastes, learned_from=learned_from)
        return len(found.tastes)
