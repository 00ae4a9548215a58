"""Addresses that say what is listed, both ways: `4-star-hotels-in-lisbon` and its filters.

    [<n>-star-] <hotels, or a type> [-with-<amenity>] [-in-<city or country>]

One value of a facet is said in the slug; what has more values, and everything else, stands in the
query. A hotel's own address comes first: a listing that would have the same one is named by its
query.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache

import msgspec

import shapes
from catalogue.listing import Index
from catalogue.rows import Filters, Vocabulary

SUGGESTIONS_MAX = 5
_STAR = re.compile(r"([1-5])-star-")
ANY_TYPE = "hotels"


class Slug(msgspec.Struct, frozen=True):
    """An address below /hotels, and the filters that it does not say."""

    path: str
    rest: Filters


@lru_cache(maxsize=4_096)
def slug_of_text(text: str) -> str:
    """A name as it stands in an address: `Côte d'Ivoire` is `cote-d-ivoire`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def many(label: str) -> str:
    """Many of a type: `Guesthouse` gives `Guesthouses`, `Property` gives `Properties`."""
    return label[:-1] + "ies" if re.search(r"[^aeiou]y$", label) else label + "s"


def type_slug(label: str) -> str:
    """The same as it stands in an address."""
    return many(slug_of_text(label))


class Words:
    """The words of one index: which slug says which value."""

    def __init__(self, index: Index) -> None:
        self._index = index
        names = self.vocabularies = index.vocabularies
        self.types = {type_slug(label): value for value, label in _pairs(names["type"])}
        self.types.pop(ANY_TYPE, None)  # it says every type already
        self.amenities = {slug_of_text(value): value for value, _ in _pairs(names["amenity"])}
        self.cities = {value: value for value, _ in _pairs(names["city"])}
        self.country_codes = {
            slug_of_text(label): value for value, label in _pairs(names["country"])
        }
        self.countries = {
            slug: value for slug, value in self.country_codes.items()
            if slug not in self.cities  # Singapore is both; the city is more exact
        }
        self._said = {
            facet: {value: slug for slug, value in table.items()}
            for facet, table in (("type", self.types), ("amenity", self.amenities),
                                 ("city", self.cities), ("country", self.countries))
        }

    @cached_property
    def _places(self) -> dict[str, Filters]:
        """What people call a place: by the word of its addresses, and by its name, which may
        differ. Made when it is first asked for: words are made anew at every change of a hotel.
        """
        named: dict[str, tuple[str, ...]] = {}
        for value, label in _pairs(self.vocabularies["city"]):
            named[_called(label)] = (*named.get(_called(label), ()), value)
        return ({slug: Filters(countries=(code,)) for slug, code in self.countries.items()}
                | {name: Filters(cities=values) for name, values in named.items()}
                | {slug: Filters(cities=(slug,)) for slug in self.cities})

    def parse(self, slug: str) -> Filters | None:
        """What a slug lists; None when a word of it is not known."""
        found: dict[str, tuple[object, ...]] = {}
        star = _STAR.match(slug)
        if star:
            found["stars"] = (int(star[1]),)
            slug = slug[star.end():]
        nouns = [noun for noun in (ANY_TYPE, *self.types)
                 if slug == noun or slug.startswith((f"{noun}-with-", f"{noun}-in-"))]
        for noun in sorted(nouns, key=len, reverse=True):
            for more in self._clauses(slug[len(noun):]):
                kind = {} if noun == ANY_TYPE else {"types": (self.types[noun],)}
                return shapes.convert({**found, **kind, **more}, Filters)
        return None

    def _clauses(self, text: str) -> Iterator[Mapping[str, tuple[str, ...]]]:
        """Ways to read `-with-..-in-..`; a name may hold such a word itself."""
        ways: list[tuple[dict[str, tuple[str, ...]], str]] = [({}, "")]
        ways += [({"amenities": (value,)}, f"-with-{slug}")
                 for slug, value in self.amenities.items()]
        for amenity, with_ in ways:
            if not text.startswith(with_):
                continue
            rest = text[len(with_):]
            place = rest.removeprefix("-in-")
            if not rest:
                yield amenity
            elif place != rest and place in self.cities:
                yield {**amenity, "cities": (self.cities[place],)}
            elif place != rest and place in self.countries:
                yield {**amenity, "countries": (self.countries[place],)}

    def slug_of(self, filters: Filters) -> Slug:
        """The address of a listing; `path` is empty when the slug would say nothing."""
        said: dict[str, str] = {}
        for facet, field in (("type", "types"), ("amenity", "amenities"), ("city", "cities"),
                             ("country", "countries")):
            values = getattr(filters, field)
            if len(values) == 1 and values[0] in self._said[facet]:
                said[field] = self._said[facet][values[0]]
        if "cities" in said:
            said.pop("countries", None)
        stars = filters.stars if len(filters.stars) == 1 and 1 <= filters.stars[0] <= 5 else ()
        if not said and not stars:
            return Slug("", filters)
        path = (
            (f"{stars[0]}-star-" if stars else "") + said.get("types", ANY_TYPE)
            + (f"-with-{said['amenities']}" if "amenities" in said else "")
            + (f"-in-{place}" if (place := said.get("cities") or said.get("countries")) else "")
        )
        if path in self._index.slugs:
            return Slug("", filters)
        spoken = dict.fromkeys(said, ()) | ({"stars": ()} if stars else {})
        return Slug(path, msgspec.structs.replace(filters, **spoken))

    def place(self, text: str) -> Filters | None:
        """The city, cities of one name, or country that somebody typed."""
        called = _called(text)
        return Filters(cities=(called,)) if called in self.cities else self._places.get(called)

    def suggestions(self, text: str) -> list[tuple[str, str]]:
        """(path, title) of listings that somebody may have meant: near by spelling, or of a place
        that an address names, such as that of a hotel that is gone.
        """
        slug = slug_of_text(text)
        star = _STAR.match(slug)
        stars = (int(star[1]),) if star else ()
        bare = slug[star.end():] if star else slug
        noun = next((known for known in sorted(self.types, key=len, reverse=True)
                     if bare.startswith(known)), None)
        types = (self.types[noun],) if noun else ()
        place = bare.rpartition("-in-")[2] if "-in-" in bare else bare
        near = difflib.get_close_matches(place, self._places, n=SUGGESTIONS_MAX, cutoff=0.6)
        within = [name for name in self._places if f"-{name}-" in f"-{bare}-"]
        found: dict[str, str] = {}
        for name in (*sorted(within, key=len, reverse=True), *near):
            filters = msgspec.structs.replace(self._places[name], stars=stars, types=types)
            if path := self.slug_of(filters).path:
                found[path] = self.title(filters)
        return list(found.items())[:SUGGESTIONS_MAX]

    def title(self, filters: Filters) -> str:
        """What is listed, in words: `4-star hotels with Pool in Lisbon`."""
        names = self.vocabularies

        def several(facet: str, values: tuple[str, ...]) -> str:
            if len(values) > 3:
                return f"{len(values)} {'cities' if facet == 'city' else 'countries'}"
            return _either([names[facet].label(value) for value in values])

        kind = _either([many(names["type"].label(value)) for value in filters.types]) or "Hotels"
        if filters.stars:
            kind = f"{_either([str(n) for n in sorted(filters.stars)])}-star {kind.lower()}"
        if filters.amenities:
            things = [names["amenity"].label(value).lower() for value in filters.amenities]
            kind += f" with {', '.join(things)}"
        place = several("city", filters.cities) or several("country", filters.countries)
        return f"{kind} in {place}" if place else kind


def _called(name: str) -> str:
    """A name whichever way it is written; one in another script stays as it is."""
    return slug_of_text(name) or name.strip().casefold()


def _either(words: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


def _pairs(vocabulary: Vocabulary) -> Iterator[tuple[str, str]]:
    return zip(list(vocabulary.values), list(vocabulary.labels), strict=False)
