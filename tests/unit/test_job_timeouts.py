"""Jobs in threads have time limits: one that hangs is interrupted, and no other."""

from __future__ import annotations

import threading
import time

import pytest
from rq.timeouts import JobTimeoutException

from consumer import job_timeouts
from consumer.job_timeouts import SharedDeathPenalty


def hang() -> None:
    """Until it is interrupted; a test that fails ends all the same."""
    give_up_s = time.monotonic() + 30
    while time.monotonic() < give_up_s:
        pass
    raise AssertionError("nobody interrupted it")


def test_a_job_that_hangs_is_interrupted() -> None:
    with pytest.raises(JobTimeoutException), SharedDeathPenalty(0.01, JobTimeoutException):
        hang()


def test_a_job_that_is_done_is_forgotten_and_others_go_on() -> None:
    interrupted: list[str] = []
    limits: list[SharedDeathPenalty] = []

    def job(name: str, timeout_s: float, go_on: threading.Event) -> None:
        limit = SharedDeathPenalty(timeout_s, JobTimeoutException)
        limits.append(limit)
        try:
            with limit:
                hang() if name == "hangs" else go_on.wait(30)
        except JobTimeoutException:
            interrupted.append(name)

    go_on = threading.Event()
    threads = [threading.Thread(target=job, args=(name, timeout_s, go_on))
               for name, timeout_s in (("hangs", 0.01), ("waits", 600), ("has no limit", 0))]
    for thread in threads:
        thread.start()
    threads[0].join(30)
    go_on.set()
    for thread in threads[1:]:
        thread.join(30)
    assert interrupted == ["hangs"]
    assert len(limits) == 3
    assert not set(limits) & set(job_timeouts._due)


def test_the_thread_that_watches_ends_when_there_is_nothing_to_watch() -> None:
    for _ in range(2):  # and comes back
        with SharedDeathPenalty(600, JobTimeoutException):
            watch = job_timeouts._watch
            assert watch is not None
            assert watch.is_alive()
        watch.join(30)
        assert not watch.is_alive()
        assert job_timeouts._watch is None
