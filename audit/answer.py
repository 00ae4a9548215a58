"""What an audit found, as one JSON line and in words."""

from __future__ import annotations

import msgspec

from audit.auditor import Verdict
from audit.catalogue import CatalogueVerdict
from audit.findings import OF_BOOKINGS, OF_CATALOGUE
from audit.orders import STATES

EXIT_WELL, EXIT_WRONG, EXIT_UNKNOWN = 0, 1, 2
SHOWN_MAX = 20


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON line. A count is None when it was not or could not be looked at."""

    ok: bool
    orders: int | None = None
    accepted: int | None = None
    confirmed: int | None = None
    failed: int | None = None
    rejected: int | None = None
    expired: int | None = None
    cancelled: int | None = None
    held: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    oversold: int | None = None
    drifted: int | None = None
    owed_overdue: int | None = None
    supplier_orphans: int | None = None
    supplier_missing: int | None = None
    hotels: int | None = None
    hotels_broken: int | None = None
    pages_missing: int | None = None
    pages_stale: int | None = None
    pages_left: int | None = None
    listing_wrong: int | None = None
    findings: list[str] = []
    supplier: str = ""
    supplier_earlier: int = 0
    catalogue: str = ""
    dead_letters: int | None = None
    under_way: list[str] = []
    looks: int = 0
    catalogue_looks: int = 0
    seconds: float = 0.0
    error: str = ""


class Verdicts(msgspec.Struct, frozen=True):
    """Of both parts; None where a part was not to be looked at."""

    bookings: Verdict | None
    catalogue: CatalogueVerdict | None

    @property
    def words(self) -> list[str]:
        """What is wrong, in plain words."""
        return [
            *(self.bookings.words if self.bookings else ()),
            *(self.catalogue.findings.words if self.catalogue else ()),
        ]

    @property
    def found(self) -> int:
        """How many things are wrong."""
        return (self.bookings.found if self.bookings else 0) + (
            self.catalogue.findings.counts.total() if self.catalogue else 0)


def answer_of(verdicts: Verdicts, seconds: float) -> Answer:
    """The JSON line of an audit."""
    parts = [part for part in (verdicts.bookings, verdicts.catalogue) if part is not None]
    under_way = [words for part in parts for words in part.under_way]
    doubts = []
    if verdicts.bookings and not verdicts.bookings.settled:
        doubts.append("the system did not stand still while it was looked at")
    if verdicts.catalogue and not verdicts.catalogue.settled:
        doubts.append("the catalogue was not looked at" if verdicts.catalogue.hotels is None
                      else "hotels changed while they were looked at")
    found = Answer(
        ok=not doubts and not verdicts.found and not under_way,
        findings=verdicts.words[:SHOWN_MAX],
        under_way=under_way,
        seconds=seconds,
        supplier="not looked at: --only catalogue",
        catalogue="not looked at: --only bookings",
        error="; ".join(doubts),
    )
    return _with_catalogue(_with_bookings(found, verdicts.bookings), verdicts.catalogue)


def _with_bookings(answer: Answer, verdict: Verdict | None) -> Answer:
    if verdict is None:
        return answer
    look = verdict.look
    return msgspec.structs.replace(
        answer,
        orders=look.orders,
        accepted=look.orders + look.undecided,
        supplier=look.supplier,
        supplier_earlier=look.supplier_earlier,
        dead_letters=verdict.dead_letters,
        looks=verdict.looks,
        **{state: look.states[state] for state in STATES},
        **{str(kind): look.findings.counts[kind] for kind in OF_BOOKINGS},
    )


def _with_catalogue(answer: Answer, verdict: CatalogueVerdict | None) -> Answer:
    if verdict is None:
        return answer
    answer = msgspec.structs.replace(
        answer, catalogue=verdict.told, catalogue_looks=verdict.looks)
    if verdict.hotels is None:
        return answer
    return msgspec.structs.replace(
        answer,
        hotels=verdict.hotels,
        hotels_broken=verdict.broken,
        **{str(kind): verdict.findings.counts[kind] for kind in OF_CATALOGUE},
    )


def exit_code(answer: Answer, verdicts: Verdicts) -> int:
    """What the command ends with."""
    return EXIT_WELL if answer.ok else EXIT_WRONG if verdicts.found else EXIT_UNKNOWN


def summary(answer: Answer, code: int) -> list[str]:
    """The same for people."""
    if not answer.catalogue:
        return [f"Could not look: {answer.error}"]
    lines = []
    if answer.orders is not None:
        lines.append(f"{answer.orders} orders: " + ", ".join(
            f"{getattr(answer, state)} {state}" for state in STATES) + ".")
    lines.append(f"The supplier's book: {answer.supplier}.")
    if answer.supplier_earlier:
        lines.append(f"{answer.supplier_earlier} bookings there are older than every order here.")
    if answer.dead_letters:
        lines.append(f"{answer.dead_letters} dead letters: see `python -m operate dead list`.")
    lines.append(f"The catalogue: {answer.catalogue}" + (
        "." if answer.hotels is None else f", {answer.hotels} hotels with their pages, "
        f"{answer.hotels_broken} that cannot be shown."))
    lines += [f"- {finding}" for finding in answer.findings]
    if answer.under_way:
        lines.append(f"Not at rest: {', '.join(answer.under_way)}.")
    if answer.error:
        lines.append(f"Not certain: {answer.error}.")
    words = {EXIT_WELL: "All is well.", EXIT_WRONG: "Something is wrong.",
             EXIT_UNKNOWN: "It cannot be told yet whether all is well; try again."}
    return [*lines, f"{words[code]} ({answer.seconds:g} s, "
                    f"{answer.looks + answer.catalogue_looks} looks)"]
