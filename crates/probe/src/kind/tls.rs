//! That a TLS handshake succeeds: a sound chain to somebody trusted, the right name, dates that hold, a protocol in common.
//! Each probe makes a new one, so that a certificate that was exchanged is seen. The session stays, in place of the one
//! before.

use proxima_health::{Failure, Findings};
use proxima_probe_kind::TlsHandshake;

use super::{Check, Checked};
use crate::{
    path::{Deadline, Path},
    standing::Standing,
};

impl Check for TlsHandshake {
    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        let (wire, connected_in) = path.wire(Some(&self.tls), &self.alpn, deadline).await;
        match wire {
            // A server may also ignore what is offered.
            Ok(wire) if !self.alpn.is_empty() && wire.alpn().is_none() => Checked::Done {
                outcome: Err(Failure::Protocol {
                    detail: format!("it chooses none of {} (ALPN)", self.alpn.join(", ")),
                }),
                standing: Some(Standing::silent(wire)),
                connected_in,
            },
            Ok(wire) => Checked::Done {
                outcome: Ok(Findings { certificate_ends: wire.certificate_ends(), ..Findings::default() }),
                standing: Some(Standing::silent(wire)),
                connected_in,
            },
            Err(failure) => Checked::Done { outcome: Err(failure), standing: None, connected_in },
        }
    }
}
