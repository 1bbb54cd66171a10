//! Errors of TLS in words for a person.

use proxima_health::Failure;
use rustls::{CertificateError, Error};

/// What an error of a handshake says about the backend.
pub(super) fn failure(error: &Error) -> Failure {
    let protocol = |detail: String| Failure::Protocol { detail };
    match error {
        Error::InvalidCertificate(error) => Failure::Certificate { detail: certificate(error) },
        Error::NoCertificatesPresented => Failure::Certificate { detail: "there is none".to_owned() },
        Error::AlertReceived(alert) => {
            protocol(format!("it ends the TLS handshake with the alert {alert:?}"))
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            protocol(format!("what it answers is not TLS as it should be: {error}"))
        }
        Error::PeerIncompatible(why) => protocol(format!("it has no TLS in common with us: {why:?}")),
        Error::NoApplicationProtocol => protocol("it speaks none of the protocols offered (ALPN)".to_owned()),
        error => protocol(format!("TLS: {error}")),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired => "it has ended".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            format!("it ended {} ago", span(ago))
        }
        CertificateError::NotValidYet => "it is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            let until = not_before.as_secs().saturating_sub(time.as_secs());
            format!("it is not valid yet, only in {}", span(until))
        }
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "nobody".to_owned() } else { presented.join(", ") };
            format!("it is for {names}, not for {}", expected.to_str())
        }
        CertificateError::UnknownIssuer => "whoever signed it is not trusted".to_owned(),
        CertificateError::Revoked => "it is revoked".to_owned(),
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        error => error.to_string(),
    }
}

/// A span of time as people say it: `3 days`, `5 hours`, `40 seconds`.
pub(super) fn span(seconds: u64) -> String {
    let (number, unit) = match seconds {
        172_800.. => (seconds / 86_400, "days"),
        7200.. => (seconds / 3600, "hours"),
        120.. => (seconds / 60, "minutes"),
        1 => (1, "second"),
        _ => (seconds, "seconds"),
    };
    format!("{number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_unit_people_would_choose() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7200, "2 hours"),
            (172_799, "47 hours"),
            (14 * 86_400, "14 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }
}
