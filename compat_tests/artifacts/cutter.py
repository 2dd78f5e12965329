"""A proxy that cuts a connection at a chosen byte of a transfer, or keeps back an answer."""

import dataclasses
import re
import socket
import struct
import threading
import urllib.parse

from ports import free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset at once
UP, DOWN = "up", "down"  # bytes of request bodies, bytes of answers
UNANSWERED = "unanswered"  # the whole request arrives, and the connection ends before there is an answer
LOST = "lost"  # the server has answered, and the client never hears of it


@dataclasses.dataclass
class _Cut:
    method: str
    path: str
    where: str
    left: int  # bytes that still pass


class Cutter:
    """Listens at ``uri`` and passes requests on to the server, one a connection, until ``cut`` tells it otherwise.

    Used with ``with``. ``done`` counts the cuts that were made."""

    def __init__(self, server_uri):
        address = urllib.parse.urlsplit(server_uri)
        self._server = (address.hostname, address.port)
        self._listener = socket.create_server(("127.0.0.1", free_port()), backlog=64)
        self.uri = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._lock = threading.RLock()
        self._cut = None
        self.done = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def cut(self, method, path, where, after=0):
        """Cuts once: in requests of the method whose target matches the pattern, when they have moved so many bytes together."""
        with self._lock:
            self._cut = _Cut(method, path, where, after)

    def __enter__(self):
        self._accepting.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the end of the test
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            with client, socket.create_connection(self._server) as server:
                self._pass_on(client, server)
        except OSError:
            pass  # one of the two has gone

    def _pass_on(self, client, server):
        head, body = _read_head(client)
        if not head:
            return
        server.sendall(head + b"\r\nConnection: close\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode()
        size = int((re.search(rb"(?i)\ncontent-length: *(\d+)", head) or [0, 0])[1])
        sending = threading.Thread(target=self._send_body, args=(line, client, server, body, size), daemon=True)
        sending.start()
        answer = bytearray()
        while part := server.recv(1 << 18):
            if self._takes(line, LOST):
                answer += part  # to the end: the server has to believe that it was heard
                continue
            allowed = self._allowed(line, DOWN, len(part))
            client.sendall(part[:allowed])
            if allowed < len(part):
                return _break(client, server)
        if self._takes(line, LOST):
            self._count()
            _break(client)

    def _send_body(self, line, client, server, part, size):
        try:
            while True:
                allowed = self._allowed(line, UP, len(part))
                server.sendall(part[:allowed])
                size -= len(part)
                if allowed < len(part):
                    return _break(client, server)
                if size <= 0 and self._takes(line, UNANSWERED):
                    self._count()
                    return _break(client, server)
                if size <= 0:
                    return
                part = client.recv(1 << 18)
                if not part:
                    return server.shutdown(socket.SHUT_WR)  # the client has gone, and the server hears of it
        except OSError:
            pass

    def _matches(self, line, where):
        cut, (method, target, _) = self._cut, line.split(" ")
        return cut and cut.where == where and cut.method == method and re.search(cut.path, target)

    def _takes(self, line, where):
        with self._lock:
            return bool(self._matches(line, where))

    def _allowed(self, line, where, size):
        """How many of so many bytes still pass. If it is fewer, that was the cut, and all others go on."""
        with self._lock:
            if not self._matches(line, where):
                return size
            if size <= self._cut.left:
                self._cut.left -= size
                return size
            allowed = self._cut.left
            self._count()
            return allowed

    def _count(self):
        with self._lock:
            self._cut = None
            self.done += 1


def _break(*sockets):
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.shutdown(socket.SHUT_RDWR)
        one.close()


def _read_head(client):
    """The head of a request without its Connection header and its end, and what came of the body with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(1 << 16)
        if not part:
            return b"", b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")), body
