"""Chromium, which opens a WebSocket over the HTTP/2 connection that its page came by (RFC 8441), before a server by `websockets`."""

import base64
import hashlib
import subprocess
import sys
import tempfile
import threading

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
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


def page(connection, request):
    if request.path == "/page":
        return answer("text/html", PAGE)
    if request.path == "/heard.js":
        heard.expect("both messages of the page")
        return answer("text/javascript", b"")
    return None if request.path == "/socket" else answer("text/plain", b"")


def answer(kind, body):
    fields = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
    return Response(200, "OK", Headers(fields), body)


def socket(connection):
    """Tells by which version of HTTP the proxy was asked."""
    assert connection.recv() == "first"
    connection.send(f"via {connection.request.headers['Via']}")
    assert connection.recv() == "second"
    heard.set()


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


server = serve(socket, "127.0.0.1", 0, process_request=page)
threading.Thread(target=server.serve_forever, daemon=True).start()
edge.run(server.socket.getsockname()[1], {"websocket": websocket})
