"""A TCP proxy that loses answers: what arrived is done, but the caller never hears of it."""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 65_536
_ACCEPT_TIMEOUT_S = 0.2


class LossyProxy:
    """Listens on a free loopback port and forwards to `port`.

    While `losing` is set, whatever the server answers is thrown away and the connection is cut:
    the request was carried out, and the caller sees a broken connection.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_ACCEPT_TIMEOUT_S)
        self.port: int = self._listener.getsockname()[1]
        self.losing = threading.Event()
        self.lost = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> LossyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                client.close()
                continue
            for pair, answers in (((client, server), False), ((server, client), True)):
                threading.Thread(target=self._pump, args=(*pair, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            source.settimeout(None)
            while data := source.recv(_CHUNK):
                if answers and self.losing.is_set():
                    self.lost += 1
                    break
                sink.sendall(data)
        except OSError:
            pass  # one side is gone; both are closed below
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
