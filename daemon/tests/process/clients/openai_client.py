"""The OpenAI SDK before an app that streams tokens, each when the client has the one before."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import openai

import edge

TOKENS = 20

acknowledged = edge.Acknowledged()
left = edge.Event()
sent = 0


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["stream"], asked
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        {"whole": self.whole, "broken": self.broken, "endless": self.endless}[asked["model"]]()

    def token(self, n):
        global sent
        choice = {"index": 0, "delta": {"content": f" {n}"}, "finish_reason": None}
        event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
        sent += 1
        self.chunk(f"data: {json.dumps(event)}\n\n".encode())

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def whole(self):
        for n in range(TOKENS):
            self.token(n)
            acknowledged.expect()
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def broken(self):
        """Between two events, where only the framing tells that more was to come."""
        for n in range(3):
            self.token(n)
            acknowledged.expect()
        self.close_connection = True

    def endless(self):
        self.token(0)
        try:
            assert self.connection.recv(1) == b""
        except ConnectionError:
            pass
        left.set()
        self.close_connection = True

    def log_message(self, *_):
        pass


def ask(port, http2, model):
    """The client's HTTP versions are recorded; nothing is tried again."""
    versions = []
    client = openai.OpenAI(
        base_url=f"https://127.0.0.1:{port}/v1",
        api_key="none",
        max_retries=0,
        http_client=httpx2.Client(
            http2=http2,
            verify=edge.trusting(),
            trust_env=False,
            timeout=edge.PATIENCE,
            event_hooks={"response": [lambda response: versions.append(response.http_version)]},
        ),
    )
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}], stream=True)
    assert versions == ["HTTP/2" if http2 else "HTTP/1.1"], versions
    return client, stream


def one_by_one(port):
    global sent
    for http2 in (False, True):
        words, sent = "", 0
        for n, chunk in enumerate(ask(port, http2, "whole")[1]):
            words += chunk.choices[0].delta.content
            assert sent == n + 1, f"token {n} came when {sent} were sent"
            acknowledged.release()
        assert words == "".join(f" {n}" for n in range(TOKENS)), words


def breaks(port):
    for http2 in (False, True):
        got = 0
        try:
            for _ in ask(port, http2, "broken")[1]:
                got += 1
                acknowledged.release()
        except (httpx2.TransportError, openai.APIError) as error:
            assert got == 3, got
            print(repr(error), file=sys.stderr)
        else:
            raise AssertionError("a clean end")


def leaves(port):
    for http2 in (False, True):
        client, stream = ask(port, http2, "endless")
        next(iter(stream))
        # Over HTTP/2 httpcore keeps a stream that was closed early to itself until the connection ends.
        (client if http2 else stream).close()
        left.expect("the app hears that the client has left")
        left.clear()


app = ThreadingHTTPServer(("127.0.0.1", 0), App)
app.daemon_threads = True
threading.Thread(target=app.serve_forever, daemon=True).start()
edge.run(app.server_port, {"one-by-one": one_by_one, "breaks": breaks, "leaves": leaves})
