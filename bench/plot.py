"""A report as a picture: bars from zero on a linear axis, and where the figures came from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.load import CONNECTIONS
from bench.machine import caption
from bench.others import THREADS
from bench.world import BenchError

WIDTH = 900
LEFT = 250
# Behind the longest bar stand its figure and its ratio.
RIGHT = 150
TOP = 92
ROW = 48
BELOW = 48
CAPTION_LINE = 17
TICKS = 5

Report = dict[str, Any]


class Bar(msgspec.Struct, frozen=True):
    """One line of a picture: a field of the report, what it is, and the field of its ratio."""

    field: str
    label: str
    note: str
    ratio: str = ""
    ours: bool = False


class Picture(msgspec.Struct, frozen=True):
    """What a scenario shows."""

    title: str
    subtitle: str
    method: str
    bars: list[Bar]


def draw(report: Report, scenario: str, folder: Path) -> Path:
    """Write bench-<scenario>.svg. Raises BenchError when the folder cannot be written."""
    picture = _PICTURES[scenario](report)
    path = folder / f"bench-{scenario}.svg"
    try:
        path.write_text(_svg(picture, report), encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from None
    return path


def _booking(report: Report) -> Picture:
    found = report["machine"]

    def queue(name: str, label: str) -> Bar:
        return Bar(f"{name}_per_s", f"{label} {found.get(name, '')}",
                   "update and insert in a task", f"ratio_{name}")

    return Picture(
        title="Orders booked per second",
        subtitle="Each with a unit of its own, journaled by MongoDB; queues are on disk before "
                 "they answer.",
        method=f"Medians of {report['rounds']} interleaved rounds. Berth and the ceiling took "
               f"{report['orders']:,} orders each, the others fewer. In grey: Berth's held ÷ "
               "theirs.",
        bars=[
            Bar("raw_per_s", "insert_many alone", "the ceiling: nothing is decided", "ratio_raw"),
            Bar("held_per_s", "Berth: held", "one consumer", ours=True),
            Bar("settled_per_s", "Berth: held and settled", "two decisions each", ours=True),
            Bar("direct_per_s", "update and insert", f"{THREADS} threads, no queue",
                "ratio_direct"),
            queue("dramatiq", "Dramatiq"),
            queue("celery", "Celery"),
            queue("rq", "RQ"),
            Bar("lock_per_s", "Redis lock", f"{THREADS} threads read, check, write", "ratio_lock"),
        ],
    )


def _accept(report: Report) -> Picture:
    return Picture(
        title="Orders accepted per second over HTTP",
        subtitle=f"All under the same gunicorn. At {report['rate_per_s']} orders/s Berth answers "
                 f"in {report['p50_ms']:.1f} ms (p50) and {report['p99_ms']:.1f} ms (p99).",
        method=f"Medians of {report['rounds']} interleaved rounds of {report['seconds']} s; wrk "
               f"on the same machine, {CONNECTIONS} connections. In grey: Berth ÷ theirs.",
        bars=[
            Bar("bare_flask_per_s", "bare Flask", 'answers "ok"', "ratio_bare"),
            Bar("minimal_producer_per_s", "minimal producer", "parses JSON, one LPUSH", "ratio"),
            Bar("accept_per_s", "Berth", "accepts an order", ours=True),
            Bar("accept_keyed_per_s", "Berth, with keys", "an Idempotency-Key each", ours=True),
        ],
    )


def _pages(report: Report) -> Picture:
    return Picture(
        title="Pages of the catalogue per second",
        subtitle=f"All under the same gunicorn, {report['hotels']:,} hotels. At "
                 f"{report['rate_per_s']} requests/s: hotel p99 {report['hotel_p99_ms']:.1f} ms, "
                 f"listing p99 {report['listing_p99_ms']:.1f} ms.",
        method=f"Medians of {report['rounds']} interleaved rounds of {report['seconds']} s; wrk "
               f"on the same machine, {CONNECTIONS} connections. In grey: ours or theirs ÷ bare "
               "Flask.",
        bars=[
            Bar("bare_per_s", "bare Flask", 'answers "ok"'),
            Bar("hotel_per_s", "Berth: a hotel", "all hotels in turn", "ratio_hotel", ours=True),
            Bar("listing_per_s", "Berth: a listing", "two filters, all pairs in turn",
                "ratio_listing", ours=True),
            Bar("listing_anew_per_s", "Berth: a new listing", "made for each request",
                "ratio_listing_anew", ours=True),
            Bar("mongo_per_s", "MongoDB and a template", "the same listing", "ratio_mongo"),
        ],
    )


def _freshness(report: Report) -> Picture:
    return Picture(
        title="From a change in MongoDB to its page, in milliseconds",
        subtitle=f"{report['hotels']:,} hotels, {report['changes_per_s']} changes/s. All prices "
                 f"changed at once are shown after {report['bulk_change_s']:.0f} s, while "
                 f"{report['rate_per_s']} pages/s take {report['page_p99_bulk_ms']:.0f} ms (p99).",
        method=f"From MongoDB's acknowledgement (majority, journaled) to a GET that shows it; "
               f"{report['changes']:,} changes. All pages are built anew in "
               f"{report['rebuild_s']:.0f} s.",
        bars=[
            Bar(f"change_to_{page}_ms_{part}", f"{label}, {part}", note, ours=True)
            for page, label, note in (
                ("page", "a hotel's page", "each change"),
                ("listing", "a listing", "of its city, by price"))
            for part in ("p50", "p99", "max")
        ],
    )


def _search(report: Report) -> Picture:
    return Picture(
        title="What a visitor waits for live rates, in milliseconds",
        subtitle=f"Four suppliers that take 300, 400, 500 and 2,000 ms. At {report['new_per_s']} "
                 f"new searches/s Berth adds {report['first_rates_overhead_ms_p99']:.0f} ms to the "
                 f"first rates (p99), {report['complete_overhead_ms_p99']:.0f} ms to the last.",
        method=f"{report['searches']} searches over {report['seconds']} s, by Valkey's clock; the "
               "others one at a time, the longest of three.",
        bars=[
            Bar("berth_first_ms", "Berth: first rates", "queue, RQ workers", ours=True),
            Bar("threads_first_ms", "a thread each: first", "in the web process"),
            Bar("sequential_first_ms", "one after the other: first", "in the web process"),
            Bar("berth_complete_ms", "Berth: all rates", "the slowest takes 2,000", ours=True),
            Bar("threads_complete_ms", "a thread each: all", "in the web process"),
            Bar("sequential_complete_ms", "one after the other: all", "in the web process"),
        ],
    )


_PICTURES: dict[str, Callable[[Report], Picture]] = {
    "booking": _booking, "accept": _accept, "pages": _pages, "search": _search,
    "freshness": _freshness,
}


def _svg(picture: Picture, report: Report) -> str:
    shown = [bar for bar in picture.bars if bar.field in report]
    ends = axis(max(report[bar.field] for bar in shown))
    scale = (WIDTH - LEFT - RIGHT) / ends[-1]
    bottom = TOP + ROW * len(shown)
    lines = [picture.method, caption(report["machine"])]
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return templates.get_template("bars.svg.j2").render(
        width=WIDTH, height=bottom + BELOW + CAPTION_LINE * len(lines), left=LEFT, top=TOP,
        bottom=bottom, title=picture.title, subtitle=picture.subtitle, caption=lines,
        ticks=[{"x": round(LEFT + end * scale, 1), "label": f"{end:,.0f}"} for end in ends],
        bars=[
            {
                "y": TOP + ROW * row, "width": round(report[bar.field] * scale, 1),
                "label": bar.label, "note": bar.note, "ours": bar.ours,
                "value": f"{report[bar.field]:,.0f}",
                "ratio": f"{report[bar.ratio]:.3g} ×" if bar.ratio in report else "",
            }
            for row, bar in enumerate(shown)
        ],
    )


def axis(highest: float) -> list[float]:
    """Ends of the parts of an axis from 0 to at least `highest`: steps of 1, 2 or 5 tens."""
    rough = max(highest, 1e-9) / TICKS
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(ten * part for part in (1, 2, 5, 10) if ten * part >= rough)
    return [step * n for n in range(math.ceil(highest / step) + 1)]
