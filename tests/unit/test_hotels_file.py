"""A file of hotels: good rows are kept, bad ones are told with their line and reason."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from catalogue import documents as d
from catalogue.hotels_file import Batch, Reader
from errors import BadInput

TODAY = dt.date(2026, 12, 30)
HEADER = "id,name,city,type,stars,price,rating,rating_count,amenities,images,active"


def read(path: Path, known: set[str] | None = None) -> Batch:
    batches = list(Reader(path).batches(today=TODAY, currency="EUR",
                                        known_cities=known or {"lisbon"}, known_types={"inn"}))
    return Batch([good for one in batches for good in one.hotels],
                 [line for one in batches for line in one.refused])


def csv_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "hotels.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def of(batch: Batch, collection: str) -> list[dict[str, Any]]:
    return [document for good in batch.hotels for name, document in good.documents
            if name == collection]


def test_a_good_row_becomes_its_documents(tmp_path: Path) -> None:
    found = read(csv_file(
        tmp_path, "casa-1,Casa Útil,lisbon,inn,4,93.50,8.7,12,wifi|pool,dawn|dusk,yes"))
    assert ([one.hotel_id for one in found.hotels], found.refused) == (["casa-1"], [])
    [hotel] = of(found, d.HOTELS)
    assert (hotel["_id"], hotel["slug"], hotel["stars"], hotel["amenities"]) == (
        "casa-1", "casa-util-casa-1", 4, ["wifi", "pool"])
    assert [one["art"] for one in of(found, d.IMAGES)] == ["dawn", "dusk"]
    assert of(found, d.RATINGS) == [{"_id": "casa-1", "average_tenths": 87, "count": 12}]
    december, january, *_ = of(found, d.PRICES)
    assert december["nights"] == {"2026-12-30": "93.50", "2026-12-31": "93.50"}
    assert january["_id"] == "casa-1:2027-01"


@pytest.mark.parametrize(("row", "said"), [
    ("casa-1,Casa,lisbon,inn,6,93,,,,,", "stars"),
    ("casa-1,Casa,lisbon,inn,four,93,,,,,", "stars"),
    ("casa-1,,lisbon,inn,4,93,,,,,", "name"),
    ("Casa 1,Casa,lisbon,inn,4,93,,,,,", "id"),
    ("casa-1,Casa,atlantis,inn,4,93,,,,,", "city_name"),
    ("casa-1,Casa,lisbon,yurt,4,93,,,,,", "type_label"),
    ("casa-1,Casa,lisbon,inn,4,-5,,,,,", "price"),
    ("casa-1,Casa,lisbon,inn,4,NaN,,,,,", "price"),
    ("casa-1,Casa,lisbon,inn,4,93,11,,,,", "rating"),
    ("casa-1,Casa,lisbon,inn,4,93,,,,,perhaps", "active"),
    ("casa-1,Casa,lisbon,inn,4,93,,,,,yes,more", "more values"),
    ("good,Good,lisbon,inn,4,93,,,,,", "same id"),
])
def test_a_bad_row_costs_itself_and_says_why(tmp_path: Path, row: str, said: str) -> None:
    found = read(csv_file(tmp_path, "good,Good,lisbon,inn,4,93,,,,,", row,
                          "last,Last,lisbon,inn,1,10,,,,,"))
    assert [one["_id"] for one in of(found, d.HOTELS)] == ["good", "last"]
    [line] = found.refused
    assert "line 3" in line
    assert said in line


def test_json_is_read_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "hotels.json"
    good = {"id": "a", "name": "A", "city": "faro", "city_name": "Faro", "country": "PT",
            "country_name": "Portugal", "type": "inn", "type_label": "Inn", "stars": 3,
            "price": 80, "nights": {"2027-01-01": "120.00"}}
    path.write_text(json.dumps({"hotels": [good, {"id": "b"}, 7,
                                           {**good, "id": "c", "nights": {"2027-02-31": "1"}}]},
                               indent=1))
    found = read(path)
    assert [one["_id"] for one in of(found, d.HOTELS)] == ["a"]
    assert of(found, d.CITIES)[0]["name"] == "Faro"
    assert any(one["nights"].get("2027-01-01") == "120.00" for one in of(found, d.PRICES))
    assert ["hotel 2" in found.refused[0], "hotel 3" in found.refused[1],
            "2027-02-31 is no day" in found.refused[2]] == [True, True, True]
    assert "line 18" in found.refused[0]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("hotels.txt", "", "named .csv or .json"),
    ("hotels.csv", "", "the first line must name the columns"),
    ("hotels.csv", "id,colour\n", "unknown: colour"),
    ("hotels.csv", HEADER + "\n", "holds no hotel"),
    ("hotels.json", "{", "not valid JSON"),
    ("hotels.json", "[]", "holds no hotel"),
])
def test_a_file_that_is_none_is_refused_before_anything_is_touched(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInput, match=said):
        Reader(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        Reader(tmp_path / "none.csv")
