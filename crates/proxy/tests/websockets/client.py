"""A WebSocket client by `websockets`: client.py PORT, before the server of server.py. Says "done" when all is as it should be."""

import os
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

# Of all lengths that are encoded differently, and longer than what a proxy may hold.
MESSAGES = ["", "x", "é" * 60, "y" * 126, b"\0" * 125, bytes(range(256)) * 256, "z" * (1 << 20)]
PATIENCE = 15


def client(path, **more):
    return connect(f"ws://127.0.0.1:{sys.argv[1]}{path}", proxy=None, max_size=None, max_queue=None, **more)


def exchange(connection, compresses):
    assert connection.subprotocol == "chat", connection.subprotocol
    extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "")
    assert extensions.startswith("permessage-deflate") == compresses, extensions
    # The version in which the server was asked is that in which it has answered.
    assert connection.response.headers["Via"].startswith(connection.response.headers["X-Version"] + " ")
    for message in MESSAGES:
        connection.send(message)
        assert connection.recv(PATIENCE) == message
        assert connection.ping().wait(PATIENCE), "no pong"
    for message in MESSAGES:
        connection.send(message)
    for message in MESSAGES:
        assert connection.recv(PATIENCE) == message


# It offers compression by itself.
first = client("/echo", subprotocols=["other", "chat"])
second = client("/echo", subprotocols=["chat"], compression=None)
exchange(first, True)
exchange(second, False)
try:
    client("/refused")
    raise AssertionError("not refused")
except InvalidStatus as refused:
    assert (refused.response.status_code, refused.response.body) == (403, b"no"), refused.response
# Over HTTP/3 hypercorn survives no word that comes after it has closed a WebSocket: so this is the last check.
first.send("close 4001")
try:
    raise AssertionError(first.recv(PATIENCE))
except ConnectionClosed:
    assert first.close_code == 4001, first.close_code
print("done", flush=True)
# Without a close handshake: who would answer may be gone.
os._exit(0)
