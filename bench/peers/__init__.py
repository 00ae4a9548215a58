"""Task queues that people would pick instead, each as its own documents recommend.

All run on the same Valkey (appendfsync always) and the same MongoDB, in processes of their own,
and do the direct booking in a task. Each is set so that a task is not lost with its worker, for
that is what is compared; results, which nobody reads, are not kept. Nothing of them is imported
outside of their own processes.
"""

from __future__ import annotations

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """One task queue: how it is started, and where its tasks wait.

    `worker` is the command line behind `python`; {redis_url} is filled in.
    `waiting` is the Valkey list of waiting tasks, `share` the part of a round's orders that it
    gets: about five seconds of work.
    """

    name: str
    worker: tuple[str, ...]
    waiting: str
    share: float


PEERS: dict[str, Peer] = {peer.name: peer for peer in (
    # Prefork, a process per core, is its default. It is alone, so it looks for no other workers.
    Peer("celery",
         ("-m", "celery", "-A", "bench.peers.celery", "worker", "--loglevel", "WARNING",
          "--without-mingle", "--without-gossip"),
         waiting="celery", share=0.08),
    # A process per core with eight threads each is its default.
    Peer("dramatiq",
         ("-m", "dramatiq", "bench.peers.dramatiq"),
         waiting="dramatiq:default", share=0.12),
    # A worker per core. The default worker forks for each job, and the fork has to connect to
    # MongoDB anew: a tenth of the speed of the one that is taken, which does not fork.
    Peer("rq",
         ("-m", "rq.cli", "worker-pool", "default", "--num-workers", "2", "--quiet",
          "--worker-class", "rq.worker.SimpleWorker", "--url", "{redis_url}"),
         waiting="rq:queue:default", share=0.03),
)}
