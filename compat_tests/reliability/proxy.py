"""A TCP proxy that loses answers: the server has done the work, and the client never hears of it."""

import random
import socket
import struct
import threading

from ports import free_port

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset at once


class LossyProxy:
    """Listens at ``uri`` and hands each request to the server at host:port; ``lost`` counts the answers it dropped.

    It drops answers to requests that write, never more than three in a row, so that a client that retries gets through.
    The seed decides which. Used with ``with``."""

    def __init__(self, server, seed):
        self._server = server
        self._random = random.Random(seed)
        self._in_row = 0
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.uri = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the end of the test
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client):
        """Serves one request. The server is asked to close its connection, which tells where its answer ends."""
        with client:
            head, body = _read_request(client)
            if not head:
                return
            with socket.create_connection(self._server) as server:
                server.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
                answer = b"".join(iter(lambda: server.recv(65536), b""))
            if self._loses(head):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                client.sendall(answer)

    def _loses(self, head):
        lose = not head.startswith(b"GET ") and self._in_row < 3 and self._random.random() < 0.4
        self._in_row = self._in_row + 1 if lose else 0
        self.lost += lose
        return lose


def _read_request(client):
    """The head of a request without its Connection header and its end, and the body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        if not part:
            return b"", b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = {line.partition(b":")[0].strip().lower(): line.partition(b":")[2].strip() for line in lines[1:]}
    missing = int(fields.get(b"content-length", 0)) - len(body)
    while missing > 0:
        part = client.recv(65536)
        if not part:
            return b"", b""
        body, missing = body + part, missing - len(part)
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"connection:")), body
