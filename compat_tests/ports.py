"""Free ports on the loopback interface."""

import random
import socket


def free_port():
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago.

    It is below those that systems take for connections, so that none of them has it by the time a server listens on it, or does so again."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
