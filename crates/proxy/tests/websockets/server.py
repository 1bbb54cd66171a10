"""A WebSocket server by hypercorn: server.py h2|h3 CERTIFICATE KEY. Says its port, and sends back each message.

Of "close CODE" it closes the connection; "/refused" it answers with 403.
"""

import asyncio
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    assert (await receive())["type"] == "websocket.connect"
    # By extended CONNECT; in HTTP/1.1 there would be a key.
    assert scope["http_version"] in ("2", "3")
    assert not any(name == b"sec-websocket-key" for name, _ in scope["headers"])
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"content-length", b"2")]})
        await send({"type": "websocket.http.response.body", "body": b"no"})
        return
    subprotocol = "chat" if "chat" in scope["subprotocols"] and scope["path"] != "/plain" else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": [(b"x-version", scope["http_version"].encode())]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text[6:])})
            return
        await send({"type": "websocket.send", "text": text, "bytes": message.get("bytes")})


async def main(version, certificate, key):
    config = Config()
    config.websocket_max_message_size = 1 << 22
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if version == "h3" else socket.SOCK_STREAM)
    bound.bind(("127.0.0.1", 0))
    ours = [f"fd://{bound.fileno()}"]
    if version == "h3":
        config.certfile, config.keyfile = certificate, key
        config.bind, config.quic_bind = ["127.0.0.1:0"], ours
    else:
        config.bind = ours

    async def started():
        print(bound.getsockname()[1], flush=True)
        await asyncio.Event().wait()

    await serve(app, config, shutdown_trigger=started)


asyncio.run(main(*sys.argv[1:]))
