//! Health probes over TCP and HTTP, and the standing connection that sees a killed app.
