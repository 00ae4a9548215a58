"""A supplier without latency: answers every reservation job with a report, half of them no.

    python -m bench.stand_in ORDERS READY      sets the key READY once it is connected
"""

from __future__ import annotations

import sys

import bootstrap
from booking import commands
from booking.commands import ReservationConfirmed, ReservationFailed
from booking.model import Reason
from queues.keys import BOOKING
from queues.scripts import Script
from settings import load

CHUNK = 1_000
BELL_WAIT_S = 0.05


def main(orders: int, ready: str) -> int:
    """Report on `orders` reservation jobs, then end."""
    client = bootstrap.connect_valkey(load())
    push = Script(client, "push")
    work = BOOKING.reservations
    client.set(ready, "1")
    done = 0
    while done < orders:
        raws: list[bytes] | None = client.rpop(work.waiting, CHUNK)  # type: ignore[assignment]
        if not raws:
            client.brpop([work.bell], timeout=BELL_WAIT_S)
            continue
        reports = []
        for raw in raws:
            order_id = commands.decode_reservation_job(raw).order_id
            done += 1
            reports.append(commands.encode(
                ReservationConfirmed(order_id=order_id, flight_ticket_number=f"T{done}",
                                     hotel_reservation_number=f"R{done}")
                if done % 2 else
                ReservationFailed(order_id=order_id, reason=Reason.FLIGHT_DECLINED)
            ))
        push([BOOKING.jobs, BOOKING.bell, BOOKING.counters], [0, *reports])
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
