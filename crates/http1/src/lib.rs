//! The HTTP/1.1 message codec: strict heads as offsets, body framing, no I/O.
