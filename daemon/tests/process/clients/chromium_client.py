"""Chromium, which opens a WebSocket over the HTTP/2 connection that its page came by (RFC 8441), before a server by `websockets`, over
HTTP/1.1, or by hypercorn, over HTTP/2.
"""

import asyncio
import base64
import hashlib
import socket
import subprocess
import sys
import tempfile
import threading

import hypercorn.asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypercorn.config import Config
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.sync.server import serve

import edge

NAME = "web.example"
# The load event waits for the last script, and that for the server to have heard both messages.
PAGE = b"""<!doctype html><title>A page</title><body><script>
const said = [], socket = new WebSocket(`wss://${location.host}/socket`)
socket.onopen = () => socket.send('first')
socket.onmessage = event => { said.push(event.data); socket.send('second') }
onload = () => document.body.textContent = `${performance.getEntriesByType('navigation')[0].nextHopProtocol}: ${said}`
</script><script src="/heard.js"></script>"""

heard = edge.Event()


def content(path):
    """What a request gets that asks for no WebSocket; waits where the page is to wait."""
    if path == "/page":
        return "text/html", PAGE
    if path == "/heard.js":
        heard.expect("both messages of the page")
        return "text/javascript", b""
    return "text/plain", b""


def page(connection, request):
    if request.path == "/socket":
        return None
    kind, body = content(request.path)
    fields = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    return Response(200, "OK", Headers(fields), body)


def talk(connection):
    """Tells by which version of HTTP the proxy was asked."""
    assert connection.recv() == "first"
    connection.send(f"via {connection.request.headers['Via']}")
    assert connection.recv() == "second"
    heard.set()


def websockets_server():
    server = serve(talk, "127.0.0.1", 0, process_request=page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.socket.getsockname()[1]


async def app(scope, receive, send):
    """The same as an application of ASGI."""
    if scope["type"] == "websocket":
        assert (scope["http_version"], (await receive())["type"]) == ("2", "websocket.connect")
        await send({"type": "websocket.accept"})
        assert (await receive())["text"] == "first"
        await send({"type": "websocket.send", "text": f"via {dict(scope['headers'])[b'via'].decode()}"})
        assert (await receive())["text"] == "second"
        heard.set()
        await receive()
    elif scope["type"] == "http":
        kind, body = await asyncio.to_thread(content, scope["path"])
        fields = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})


def hypercorn_server():
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    serving = hypercorn.asyncio.serve(app, config, shutdown_trigger=lambda: asyncio.Event().wait())
    threading.Thread(target=asyncio.run, args=(serving,), daemon=True).start()
    return port


def key_digest():
    with open(sys.argv[1], "rb") as file:
        key = x509.load_pem_x509_certificate(file.read()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def websocket(port):
    with tempfile.TemporaryDirectory() as profile:
        chromium = [
            "chromium",
            "--headless",
            "--dump-dom",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-quic",
            "--no-first-run",
            f"--user-data-dir={profile}",
            f"--host-resolver-rules=MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND",
            f"--ignore-certificate-errors-spki-list={key_digest()}",
            f"https://{NAME}:{port}/page",
        ]
        run = subprocess.run(chromium, capture_output=True, text=True, timeout=edge.PATIENCE, env={"HOME": profile, "PATH": "/usr/bin:/bin"})
    assert "h2: via 2 eu1" in run.stdout, run.stdout + run.stderr


servers = {"websocket": websockets_server, "websocket-over-http2": hypercorn_server}
edge.run(servers[sys.argv[2]](), {check: websocket for check in servers})
