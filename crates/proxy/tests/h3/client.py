"""An HTTP/3 client by aioquic: client.py PORT CA-FILE. Asks, and moves from port to port; says `done` in the end."""

import asyncio
import socket
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

MOVES = 12


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.asked = {}

    def quic_event_received(self, event):
        if isinstance(event, (StreamReset, ConnectionTerminated)):
            for answer, *_ in self.asked.values():
                if not answer.done():
                    answer.set_exception(RuntimeError(repr(event)))
        for said in self.http.handle_event(event):
            answer, fields, body = self.asked[said.stream_id]
            if isinstance(said, HeadersReceived):
                fields.extend(said.headers)
            if isinstance(said, DataReceived):
                body.extend(said.data)
            if said.stream_ended:
                answer.set_result((dict(fields), bytes(body)))

    def begin(self, method):
        stream = self._quic.get_next_available_stream_id()
        self.asked[stream] = (asyncio.get_running_loop().create_future(), [], bytearray())
        fields = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", b"/"),
            (b"x-client", b"aioquic"),
        ]
        self.http.send_headers(stream, fields, end_stream=method == b"GET")
        self.transmit()
        return stream

    def say(self, stream, data, last):
        self.http.send_data(stream, data, end_stream=last)
        self.transmit()

    async def answer(self, stream):
        fields, body = await asyncio.wait_for(self.asked[stream][0], 20)
        assert fields[b":status"] == b"200", fields
        return body

    async def move(self):
        """To another port, with another connection ID; the old socket is closed."""
        old = self._transport
        own = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        own.bind(("::", 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=own)
        self.change_connection_id()
        old.close()

    def connection_lost(self, exc):
        """Of a socket that was left; the connection goes on."""


async def main(port, authority):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(authority)
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        assert await client.answer(client.begin(b"GET")) == b""
        content = bytes(range(256)) * 1000
        for _ in range(MOVES):
            stream = client.begin(b"POST")
            client.say(stream, content, False)
            await client.move()
            client.say(stream, content, True)
            assert await client.answer(stream) == content * 2
    print("done")


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
