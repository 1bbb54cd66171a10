//! The data plane: workers, TCP relay, HTTP/1.1 reverse proxy.
