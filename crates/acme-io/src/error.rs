//! Why an order comes to nothing.

use std::{io, path::PathBuf, time::Duration};

use instant_acme::Error as AcmeError;

use crate::http::HttpError;

/// Why an order comes to nothing, with the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// The server says no, or could not be asked.
    #[error("{}", said(.0))]
    Acme(#[from] AcmeError),
    /// It says no to the proof of a name.
    #[error("{name} is not proven to be ours: {why}")]
    Unproven { name: String, why: String },
    /// It takes other proofs only.
    #[error("the server takes no {wanted} for {name}, but {}; set `challenge`", offered.join(", "))]
    NoChallenge { name: String, wanted: &'static str, offered: Vec<String> },
    /// An order can't be gone on with.
    #[error("the order for {name} is {state}; it is begun anew")]
    State { name: String, state: String },
    /// Nothing comes of it.
    #[error("the server has not come to an end within {} minutes", .0.as_secs() / 60)]
    Slow(Duration),
    /// The certificate that came can't be used.
    #[error("what the server sent is no certificate for our key: {0}")]
    Unusable(String),
    /// It lacks names.
    #[error("the certificate that came is not for {}; order those from another issuer, or take them out of `names`", .0.join(", "))]
    Lacks(Vec<String>),
    /// A key or a request for a certificate could not be made.
    #[error("{0}")]
    Crypto(#[from] rcgen::Error),
    /// A file could not be written or read.
    #[error("{}: {error}; let the daemon's user write there", path.display())]
    Store { path: PathBuf, error: io::Error },
    /// What keeps the account is broken.
    #[error("{}: not an account: {error}; restore it, or remove it to have a new account", path.display())]
    Account { path: PathBuf, error: serde_json::Error },
    /// Nobody answers challenges any more.
    #[error("the daemon stops")]
    Stopping,
    /// A fault of this program, which has been told.
    #[error("an internal fault, see the log")]
    Fault,
}

/// The type of the problem without its namespace (RFC 8555 §6.7).
fn problem(error: &AcmeError) -> Option<&str> {
    match error {
        AcmeError::Api(problem) => problem.r#type.as_deref()?.strip_prefix("urn:ietf:params:acme:error:"),
        _ => None,
    }
}

fn said(error: &AcmeError) -> String {
    let hint = match problem(error) {
        Some("externalAccountRequired") => "; set `external-account`",
        Some("userActionRequired") => "; read what it wants to be agreed to",
        Some("unsupportedContact" | "invalidContact") => "; correct `contact`",
        Some("rejectedIdentifier") => "; correct `names`",
        Some("caa") => "; let the domain's CAA record allow this authority",
        _ => "",
    };
    match error {
        AcmeError::Api(problem) => {
            let detail = problem.detail.as_deref().unwrap_or("no reason given");
            let kind = problem.r#type.as_deref().unwrap_or("about:blank");
            let more: Vec<_> = problem.subproblems.iter().map(|one| format!("; {one}")).collect();
            format!("the server says: {detail} ({kind}){}{hint}", more.concat())
        }
        error => error.to_string(),
    }
}

impl OrderError {
    /// Whether another attempt may do at once: the nonce was not a good one any more (RFC 8555 §6.5).
    pub(crate) fn is_of_the_nonce(&self) -> bool {
        matches!(self, Self::Acme(error) if problem(error) == Some("badNonce"))
    }

    /// Whether the server does not know the account any more.
    pub(crate) fn is_of_the_account(&self) -> bool {
        matches!(self, Self::Acme(error) if problem(error) == Some("accountDoesNotExist"))
    }

    /// Whether it may be what the order replaces that the server does not like (RFC 9773 §5).
    pub(crate) fn may_be_of_the_replaced(&self) -> bool {
        matches!(self, Self::Acme(AcmeError::Api(_) | AcmeError::Unsupported(_)))
            || matches!(self, Self::Acme(AcmeError::Other(other)) if !other.is::<HttpError>())
    }

    /// How long the server does not want to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let Self::Acme(AcmeError::Other(other)) = self else { return None };
        other.downcast_ref::<HttpError>()?.retry_after()
    }
}

#[cfg(test)]
mod tests {
    use instant_acme::Problem;

    use super::*;

    fn api(kind: &str) -> OrderError {
        let text =
            format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "no", "status": 400}}"#);
        OrderError::Acme(AcmeError::Api(serde_json::from_str::<Problem>(&text).unwrap()))
    }

    #[test]
    fn problems_are_known_by_their_types() {
        assert!(api("badNonce").is_of_the_nonce() && !api("badNonce").is_of_the_account());
        assert!(api("accountDoesNotExist").is_of_the_account());
        assert!(api("alreadyReplaced").may_be_of_the_replaced());
        assert_eq!(
            api("externalAccountRequired").to_string(),
            "the server says: no (urn:ietf:params:acme:error:externalAccountRequired); set `external-account`"
        );
    }

    #[test]
    fn a_busy_servers_wish_is_found_and_no_other() {
        let busy = |retry_after| {
            let busy =
                HttpError::Busy { url: "u".to_owned(), status: 429, retry_after, detail: String::new() };
            OrderError::Acme(AcmeError::Other(Box::new(busy)))
        };
        let minute = Some(Duration::from_mins(1));
        assert_eq!(busy(minute).retry_after(), minute);
        assert!(!busy(minute).may_be_of_the_replaced());
        assert_eq!((busy(None).retry_after(), api("badNonce").retry_after()), (None, None));
    }
}
