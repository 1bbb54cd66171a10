"""A WebSocket client and server by `websockets`."""

import socket
import ssl
import sys
import threading

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.sync.client import connect
from websockets.sync.server import serve
from websockets.uri import parse_uri

import edge

# Of all lengths that are encoded differently, and longer than what a proxy may hold.
MESSAGES = ["", "x", "é" * 60, "y" * 126, b"\0" * 125, bytes(range(256)) * 256, "z" * (1 << 20)]
SAID = b"said before the end"
LATE = [b"late", b"later", b"latest"]

closed = edge.Event()
how = None


def serve_one(connection):
    global how
    match connection.request.path:
        case "/echo":
            try:
                for message in connection:
                    connection.send(message)
                    connection.send(f"{len(message)}")
            finally:
                how = (connection.close_code, connection.close_reason)
                closed.set()
        case "/moved":
            connection.close(4001, "moved")
        case "/dies":
            connection.send("last words")
            connection.socket.shutdown(socket.SHUT_RDWR)


def client(port, path):
    return connect(f"wss://127.0.0.1:{port}{path}", ssl=edge.trusting(), proxy=None, max_size=None, max_queue=None)


def both_ways(port):
    with client(port, "/echo") as connection:
        for message in MESSAGES:
            connection.send(message)
            assert connection.recv(edge.PATIENCE) == message
            assert connection.recv(edge.PATIENCE) == f"{len(message)}"
            assert connection.ping().wait(edge.PATIENCE), "no pong"
        # Everything at once, read later.
        for message in MESSAGES:
            connection.send(message)
        for message in MESSAGES:
            assert connection.recv(edge.PATIENCE) == message
            assert connection.recv(edge.PATIENCE) == f"{len(message)}"


def closes(port):
    connection = client(port, "/echo")
    connection.close(1000, "bye")
    closed.expect("the server hears of the close")
    assert how == (1000, "bye"), how
    for path, code, reason in [("/moved", 4001, "moved"), ("/dies", 1006, "")]:
        with client(port, path) as connection:
            try:
                while True:
                    assert connection.recv(edge.PATIENCE) == "last words"
            except ConnectionClosed:
                assert (connection.close_code, connection.close_reason) == (code, reason)


def half_close_late(connection):
    """Hears what is said until the client's side ends, and only then answers."""
    protocol = ServerProtocol()
    heard, said = False, []
    while data := connection.recv(1 << 16):
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Request):
                heard = True
                protocol.send_response(protocol.accept(event))
            else:
                said.append(event.data)
        connection.sendall(b"".join(protocol.data_to_send()))
    # A probe has said nothing.
    if heard:
        for word in [*said, *LATE]:
            protocol.send_text(word)
        connection.sendall(b"".join(protocol.data_to_send()))
    connection.close()


def half_closes(port):
    """By TLS itself, where close_notify ends one way alone (RFC 8446, section 6.1)."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = edge.trusting().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), timeout=edge.PATIENCE) as connection:

        def step(action):
            while True:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    data = connection.recv(1 << 16)
                    incoming.write(data) if data else incoming.write_eof()

        def say():
            tls.write(b"".join(protocol.data_to_send()))
            connection.sendall(outgoing.read())

        step(tls.do_handshake)
        protocol = ClientProtocol(parse_uri(f"wss://127.0.0.1:{port}/"))
        protocol.send_request(protocol.connect())
        say()
        heard = []
        while not heard:
            protocol.receive_data(step(lambda: tls.read(1 << 16)))
            assert protocol.handshake_exc is None, protocol.handshake_exc
            heard = protocol.events_received()
        protocol.send_text(SAID)
        say()
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
        words = []
        try:
            while True:
                protocol.receive_data(step(lambda: tls.read(1 << 16)))
                words += [frame.data for frame in protocol.events_received()]
        except ssl.SSLZeroReturnError:
            # Their close_notify: the end of a connection that broke is another error.
            assert words == [SAID, *LATE], words


def accept(listener):
    while True:
        threading.Thread(target=half_close_late, args=(listener.accept()[0],), daemon=True).start()


if sys.argv[2] == "half-closes":
    listener = socket.create_server(("127.0.0.1", 0))
    serving = threading.Thread(target=accept, args=(listener,), daemon=True)
    backend = listener.getsockname()[1]
else:
    server = serve(serve_one, "127.0.0.1", 0, max_size=None)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    backend = server.socket.getsockname()[1]
serving.start()
edge.run(backend, {"both-ways": both_ways, "closes": closes, "half-closes": half_closes})
