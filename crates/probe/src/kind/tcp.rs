//! That a connection is accepted. The connection stays, in place of the one before: it is what sees a killed app.

use proxima_health::Findings;

use super::{Check, Checked};
use crate::{
    path::{Deadline, Path},
    standing::Standing,
};

/// Connects.
#[derive(Debug)]
pub(crate) struct Tcp;

impl Check for Tcp {
    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        match path.connect(deadline).await {
            Ok((stream, took)) => Checked::Done {
                outcome: Ok(Findings::default()),
                standing: Some(Standing::silent(stream.into())),
                connected_in: Some(took),
            },
            Err(failure) => failure.into(),
        }
    }
}
