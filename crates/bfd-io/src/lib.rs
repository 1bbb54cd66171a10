//! BFD over UDP: one thread for all sessions of the host (RFC 5881, 5883).
