"""An HTTP/3 server by aioquic: server.py CERTIFICATE KEY. Says its port, and sends back what each request carries."""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Server(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event):
        for said in self.http.handle_event(event):
            stream = said.stream_id
            if isinstance(said, HeadersReceived):
                fields = [(b":status", b"200"), (b"server", b"aioquic")]
                self.http.send_headers(stream, fields, end_stream=said.stream_ended)
            if isinstance(said, DataReceived):
                self.http.send_data(stream, said.data, end_stream=said.stream_ended)
        self.transmit()


async def main(certificate, key):
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(certificate, key)
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Server)
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
