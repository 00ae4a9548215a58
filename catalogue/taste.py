"""What people like, as vectors: hotels and tastes of one space, and the scores of an order.

A taste's score for a hotel is the product of their vectors, plus a little for what everybody
likes. Hotels that the training knew have a vector of their own; a newer one is placed by its
features (its city, stars, type, amenities and price), as attribute-to-factor mapping does
(Gantner et al., "Learning Attribute-to-Feature Mappings for Cold-Start Recommendations", 2010).
All here is arithmetic on arrays: training.py makes a model, feedback.py keeps it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from catalogue.rows import Row
from errors import BerthError

Floats = npt.NDArray[np.float32]
# How much of a score is what everybody likes: measured on held-out visits, see
# docs/recommendations.md.
GENERAL_SHARE = np.float32(0.05)
# Older visits say less about what somebody wants now than this many of the latest do.
SEEN_MAX = 20


class UnreadableModel(BerthError):
    """The bytes hold no model of this version."""


class Seen(NamedTuple):
    """How much somebody was interested in a hotel: `weight` is 1 for a look, more for more."""

    visitor: str
    hotel_id: str
    weight: float


def features(
    *, city: str, country: str, stars: int, hotel_type: str, amenities: Iterable[str],
    price: float | None,
) -> tuple[str, ...]:
    """What is known of a hotel before anybody saw it. `price` is that of a night, in EUR or alike.

    A price counts by its step on a scale of fourths: 100 and 110 are alike, 100 and 200 are not.
    """
    found = [f"city:{city}", f"country:{country}", f"stars:{stars}", f"type:{hotel_type}"]
    found += [f"amenity:{amenity}" for amenity in sorted(set(amenities))]
    if price is not None and price > 0:
        found.append(f"price:{round(4 * math.log2(price)) // 2}")
    return tuple(found)


def features_of(row: Row) -> tuple[str, ...]:
    """The features of a hotel of the listing."""
    return features(
        city=row.city_slug, country=row.country_code, stars=row.stars, hotel_type=row.type_id,
        amenities=(amenity for amenity, _ in row.amenities),
        price=None if row.price_cents is None else row.price_cents / 100,
    )


class TasteModel:
    """One training's result. Immutable, shared by threads.

    factors   (hotels, k): a vector per hotel of `hotel_ids`
    weights   (features, k): what a feature of `feature_names` adds to a new hotel's vector
    general   (hotels,): how much everybody likes it; 0 for a hotel that nobody saw
    """

    def __init__(
        self,
        version: str,
        hotel_ids: Sequence[str],
        factors: Floats,
        feature_names: Sequence[str],
        weights: Floats,
        general: Floats,
    ) -> None:
        self.version = version
        self.hotel_ids = tuple(hotel_ids)
        self.factors = factors
        self.feature_names = tuple(feature_names)
        self.weights = weights
        self.general = general
        self._row = {hotel_id: n for n, hotel_id in enumerate(self.hotel_ids)}
        self._feature = {name: n for n, name in enumerate(self.feature_names)}

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.weights.shape[1])

    def place(self, names: Iterable[str]) -> Floats:
        """The vector of a hotel that the training did not know; features it never met add nothing.
        """
        rows = [self._feature[name] for name in names if name in self._feature]
        found: Floats = self.weights[rows].sum(axis=0, dtype=np.float32)
        return found

    def taste_of_seen(self, hotel_ids: Sequence[str]) -> Floats | None:
        """The taste of somebody who looked at these, the latest last; None when none is known."""
        rows = [self._row[one] for one in hotel_ids[-SEEN_MAX:] if one in self._row]
        if not rows:
            return None
        # Unit length, so that one much-visited hotel does not speak for all of them.
        vectors = self.factors[rows]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        mean = (vectors / np.maximum(lengths, np.float32(1e-6))).mean(axis=0)
        length = float(np.linalg.norm(mean))
        return None if length < 1e-6 else (mean / np.float32(length)).astype(np.float32)

    def aligned(self, hotels: Mapping[str, Iterable[str]]) -> AlignedTaste:
        """The model in the order of `hotels` (id -> features), new ones placed among them."""
        factors = np.zeros((len(hotels), self.width), np.float32)
        general = np.zeros(len(hotels), np.float32)
        for n, (hotel_id, names) in enumerate(hotels.items()):
            row = self._row.get(hotel_id)
            if row is None:
                factors[n] = self.place(names)
            else:
                factors[n], general[n] = self.factors[row], self.general[row]
        return AlignedTaste(self, factors, general)

    def to_bytes(self) -> bytes:
        """The model as one block, without pickle."""
        block = io.BytesIO()
        np.savez(
            block, version=np.array(self.version), hotel_ids=np.array(self.hotel_ids, dtype=str),
            factors=self.factors.astype(np.float16),
            feature_names=np.array(self.feature_names, dtype=str),
            weights=self.weights, general=self.general,
        )
        return block.getvalue()

    @classmethod
    def from_bytes(cls, block: bytes) -> TasteModel:
        """Raises UnreadableModel."""
        try:
            with np.load(io.BytesIO(block), allow_pickle=False) as found:
                parts: dict[str, Any] = {name: found[name] for name in found.files}
            return cls(
                str(parts["version"]), parts["hotel_ids"].tolist(),
                parts["factors"].astype(np.float32), parts["feature_names"].tolist(),
                parts["weights"], parts["general"],
            )
        except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
            raise UnreadableModel(f"a model that cannot be read: {error}") from error


class AlignedTaste:
    """A model whose rows are those of somebody's index of hotels."""

    def __init__(self, model: TasteModel, factors: Floats, general: Floats) -> None:
        self.model = model
        self.factors = factors
        self._general = general * GENERAL_SHARE

    def scores(self, taste: Floats | None) -> Floats:
        """A score per row, higher is better. Without a taste: what everybody likes."""
        if taste is None:
            return self._general
        scores: Floats = self.factors @ taste + self._general
        return scores
