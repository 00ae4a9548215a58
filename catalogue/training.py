"""Visits and bookings -> a taste model: alternating least squares over hotels and their features.

Implicit feedback as in Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback
Datasets" (2008). It is hybrid in two ways: each feature is one more "visitor" who saw the hotels
that have it, so that hotels alike lie close together even where few people looked; and a ridge
regression from features to vectors places hotels that the training never met.

Why implicit and not lightfm-next, with figures: docs/recommendations.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from catalogue.taste import Floats, Seen, TasteModel
from errors import BerthError

# Chosen on held-out visits (python -m bench recommend).
FACTORS = 64
CONFIDENCE = 40.0
REGULARIZATION = 1.0
FEATURE_WEIGHT = 3.0
ROUNDS = 12
# Ridge: how strongly weights are kept small, and how many visits make a vector fully believed.
RIDGE = 3.0
BELIEVED_AT = 20.0
# A hotel's own vector counts n / (n + this) beside the one that its features say.
OWN_AFTER = 2.0
VISITORS_MIN = 20


class TooLittleFeedback(BerthError):
    """There is nothing to learn from yet."""


class Trained(NamedTuple):
    """The model, and the taste of every visitor that it learned from."""

    model: TasteModel
    tastes: dict[str, Floats]


def train(
    seen: Iterable[Seen], hotels: Mapping[str, Sequence[str]], *, version: str, seed: int = 1,
    threads: int = 1,
) -> Trained:
    """Learn from `seen` about `hotels` (id -> features). Raises TooLittleFeedback.

    Feedback about hotels that are gone is left out. The same input and seed give the same model.
    """
    from implicit.als import AlternatingLeastSquares  # heavy: only for who trains
    from threadpoolctl import threadpool_limits

    hotel_ids = list(hotels)
    visits, visitors = _matrix(seen, hotel_ids)
    if len(visitors) < VISITORS_MIN:
        raise TooLittleFeedback(f"{len(visitors)} visitors; {VISITORS_MIN} are needed")
    described, names = _described([hotels[one] for one in hotel_ids])
    with threadpool_limits(limits=1, user_api="blas"):  # it is the learner that has the threads
        learner = AlternatingLeastSquares(
            factors=FACTORS, regularization=REGULARIZATION, alpha=CONFIDENCE, iterations=ROUNDS,
            num_threads=threads, random_state=seed,
        )
        learner.fit(_with_features(visits, described), show_progress=False)
        own = np.asarray(learner.item_factors, dtype=np.float32)
        looks = np.asarray(visits.sum(axis=0), dtype=np.float32).ravel()
        weights = _ridge(described, own, looks)
    told = described @ weights
    share = (looks / (looks + OWN_AFTER))[:, None]
    factors = (share * own + (1 - share) * told).astype(np.float32)
    model = TasteModel(
        version, hotel_ids, factors, names, weights.astype(np.float32),
        np.log1p(looks).astype(np.float32),
    )
    found = np.asarray(learner.user_factors, dtype=np.float32)
    return Trained(model, {visitor: found[n] for n, visitor in enumerate(visitors)})


def _matrix(seen: Iterable[Seen], hotel_ids: list[str]) -> tuple[sp.csr_matrix, list[str]]:
    """Visitors by hotels, the weights added up; and the visitors in the order of the rows."""
    columns = {hotel_id: n for n, hotel_id in enumerate(hotel_ids)}
    rows: dict[str, int] = {}
    at: list[tuple[int, int]] = []
    weights: list[float] = []
    for visitor, hotel_id, weight in seen:
        column = columns.get(hotel_id)
        if column is not None:
            at.append((rows.setdefault(visitor, len(rows)), column))
            weights.append(weight)
    places = np.array(at, dtype=np.int32).reshape(-1, 2)
    shape = (len(rows), len(hotel_ids))
    matrix = sp.csr_matrix((np.array(weights, np.float32), (places[:, 0], places[:, 1])), shape)
    return matrix, list(rows)


def _described(features: Sequence[Sequence[str]]) -> tuple[sp.csr_matrix, list[str]]:
    """Hotels by features, ones and zeros; and the features in the order of the columns."""
    names = sorted({name for row in features for name in row})
    column = {name: n for n, name in enumerate(names)}
    indices = [column[name] for row in features for name in row]
    starts = np.cumsum([0, *map(len, features)])
    ones = np.ones(len(indices), np.float32)
    return sp.csr_matrix((ones, indices, starts), (len(features), len(names))), names


def _with_features(visits: sp.csr_matrix, described: sp.csr_matrix) -> sp.csr_matrix:
    """The visits, and below them a row per feature: the more hotels have it, the less each counts.
    """
    common = np.maximum(np.asarray(described.sum(axis=0)).ravel(), 1)
    scaled = described.multiply(FEATURE_WEIGHT / np.sqrt(common)).T
    return sp.vstack([visits, scaled]).tocsr()


def _ridge(described: sp.csr_matrix, own: Floats, looks: Floats) -> Floats:
    """Weights of features that come closest to the vectors, those of well-known hotels first."""
    known = np.minimum(looks, BELIEVED_AT)
    gram = (described.T @ sp.diags(known) @ described).toarray()
    gram[np.diag_indices_from(gram)] += RIDGE
    found: Floats = np.linalg.solve(gram, described.T @ (known[:, None] * own))
    return found
