//! The admin interface: HTTP/JSON over a Unix socket (`proxima_api`).
//!
//! ```text
//! CLI ── Unix socket ──▶ server ── Command ──▶ control task (owns all state)
//!                          │   ◀── reply ────
//!                          └── follows ─────▶ event journal
//! ```
//!
//! The server owns no state and decides nothing. It runs beside the control task on its runtime; each connection is a task
//! of axum's. Whoever may open the socket may steer the daemon: the socket's mode and group are the access control.

mod control;
mod server;
mod socket;

pub(crate) use self::{
    control::{Command, CommandRefusal, ControlClient, ControlError, PeerVerb, Reply, commands},
    server::serve,
    socket::{AdminSocket, Keep, adopt_admin_socket, bind_admin_socket},
};
