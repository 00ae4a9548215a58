"""Invented hotels and visitors with tastes, for measuring the recommender: nobody's real data.

Each visitor is interested in one to three cities (large ones more often) and prefers a number of
stars, a type, some amenities and a price. What they look at follows from that, from how well known
a hotel is, from a quality that no feature tells, and from chance. Popularity is as uneven as it is
in shops. The same seed gives the same world.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from catalogue.taste import Seen, features

TYPES = ("hotel", "boutique", "hostel", "resort", "apartment", "inn")
AMENITIES = tuple(f"a{n}" for n in range(20))
LOOKS_MIN, LOOKS_MORE = 3, 9


class Visits(NamedTuple):
    """`hotels`: id -> features; `seen`: in a random order."""

    hotels: dict[str, tuple[str, ...]]
    seen: list[Seen]


def invent(*, hotels: int, cities: int, visitors: int, seed: int) -> Visits:
    """The world of one seed."""
    dice = np.random.default_rng(seed)
    city = np.sort(np.r_[np.arange(cities), dice.integers(0, cities, hotels - cities)])
    stars, kind = dice.integers(2, 6, hotels), dice.integers(0, len(TYPES), hotels)
    has = dice.random((hotels, len(AMENITIES))) < dice.uniform(0.1, 0.6, len(AMENITIES))
    price = 40 + 25 * stars + dice.gamma(2, 15, hotels)
    known = np.log(dice.pareto(1.5, hotels) + 0.1)
    quality = dice.normal(0, 0.6, hotels)
    crowd = dice.pareto(1.0, cities) + 0.2
    crowd /= crowd.sum()
    dear = np.log(price) - np.log(price).mean()
    of_city = [np.flatnonzero(city == n) for n in range(cities)]
    seen: list[Seen] = []
    for visitor in range(visitors):
        wanted = dice.choice(cities, size=dice.integers(1, 4), p=crowd, replace=False)
        near = np.concatenate([of_city[n] for n in wanted])
        liked = dice.normal(0, 0.7, len(AMENITIES)) * (dice.random(len(AMENITIES)) < 0.3)
        use = (
            -0.5 * (stars[near] - dice.normal(3.5, 1)) ** 2
            + dice.normal(0, 0.9, len(TYPES))[kind[near]]
            + has[near] @ liked + dice.normal(-1.2, 1.0) * dear[near]
            + 0.6 * known[near] + quality[near]
        )
        looks = min(len(near) - 1, LOOKS_MIN + dice.poisson(LOOKS_MORE))
        chosen = near[np.argsort(-(use + dice.gumbel(size=len(near))))[:looks]]
        seen += [Seen(f"v{visitor}", f"h{n}", 1.0) for n in chosen]
    order = dice.permutation(len(seen))
    described = {
        f"h{n}": features(
            city=f"c{city[n]}", country=f"n{city[n] % 60}", stars=int(stars[n]),
            hotel_type=TYPES[kind[n]], price=float(price[n]),
            amenities=[name for name, there in zip(AMENITIES, has[n], strict=True) if there],
        )
        for n in range(hotels)
    }
    return Visits(described, [seen[n] for n in order])
