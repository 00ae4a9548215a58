"""The recommender learns tastes, places new hotels, and beats the most popular order."""

from __future__ import annotations

import numpy as np
import pytest

from bench import recommend
from bench.visitors import Visits, invent
from catalogue.taste import Seen, TasteModel, UnreadableModel, features
from catalogue.training import TooLittleFeedback, Trained, train


@pytest.fixture(scope="module")
def world() -> Visits:
    return invent(hotels=400, cities=10, visitors=500, seed=3)


@pytest.fixture(scope="module")
def trained(world: Visits) -> Trained:
    return train(world.seen, world.hotels, version="v1")


def test_it_beats_the_most_popular_order_on_visits_held_out() -> None:
    figures = recommend.run(hotels=1_000, cities=40, visitors=1_500, seed=5)
    for order in ("buyer", "seen"):
        assert figures[f"{order}_precision_at_10"] > 1.15 * figures["popular_precision_at_10"]
        assert figures[f"{order}_auc"] > figures["popular_auc"]
        assert figures[f"{order}_new_auc"] > 0.8 > figures["popular_new_auc"] + 0.1


def test_the_same_feedback_gives_the_same_model(world: Visits, trained: Trained) -> None:
    again = train(world.seen, world.hotels, version="v1")
    assert np.allclose(again.model.factors, trained.model.factors, atol=1e-4)


def test_a_model_survives_its_way_through_bytes(trained: Trained) -> None:
    read = TasteModel.from_bytes(trained.model.to_bytes())
    assert (read.version, read.hotel_ids, read.feature_names) == (
        "v1", trained.model.hotel_ids, trained.model.feature_names)
    assert np.allclose(read.factors, trained.model.factors, atol=2e-3)
    for broken in (b"", b"PK\x03\x04 nothing", trained.model.to_bytes()[:-40]):
        with pytest.raises(UnreadableModel):
            TasteModel.from_bytes(broken)


def test_a_new_hotel_stands_among_those_like_it(world: Visits, trained: Trained) -> None:
    twin_of = world.seen[0].hotel_id
    aligned = trained.model.aligned({**world.hotels, "new": world.hotels[twin_of]})
    scores = aligned.scores(trained.model.taste_of_seen([twin_of]))
    assert (scores > scores[-1]).mean() < 0.25, "it is in the first quarter for who saw its twin"
    assert not aligned.scores(None)[-1], "nobody has seen it yet"


def test_without_a_known_hotel_there_is_no_taste(trained: Trained) -> None:
    assert trained.model.taste_of_seen([]) is None
    assert trained.model.taste_of_seen(["gone"]) is None
    # Features that the training never met place a hotel in the middle, not nowhere.
    assert trained.model.place(["city:atlantis"]).tolist() == [0.0] * trained.model.width


def test_feedback_about_hotels_that_are_gone_is_left_out(world: Visits) -> None:
    with pytest.raises(TooLittleFeedback, match="0 visitors"):
        train([Seen("v", "gone", 1.0)] * 50, world.hotels, version="v")


def test_features_tell_a_price_by_its_step() -> None:
    def price(amount: float | None) -> list[str]:
        names = features(city="lisbon", country="PT", stars=4, hotel_type="inn",
                         amenities=["wifi", "pool", "pool"], price=amount)
        assert names[:6] == ("city:lisbon", "country:PT", "stars:4", "type:inn",
                             "amenity:pool", "amenity:wifi")
        return list(names[6:])

    assert price(100.0) == price(104.0) != price(200.0)
    assert price(None) == price(0.0) == []
