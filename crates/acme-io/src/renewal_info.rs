//! Renewal information (RFC 9773 §4): plain requests, which take no account.
//!
//! `instant-acme` has them too, but takes no answer without `Retry-After`, which servers need not send (§4.3).

use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, RenewalInfo};
use proxima_acme::{Input, Window};
use serde::{Deserialize, de::DeserializeOwned};

use crate::http::{Answered, HttpError, Https};

/// What of the server's directory says where to ask (RFC 9773 §3).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    renewal_info: Option<String>,
}

/// Asks the server of this directory about a certificate.
///
/// # Errors
/// When there is no answer, or none of use.
pub(crate) async fn ask(
    https: &Https,
    directory: &str,
    identifier: &CertificateIdentifier<'static>,
) -> Result<Input, HttpError> {
    let Directory { renewal_info } = read(directory, &https.get(directory).await?)?;
    let Some(renewal_info) = renewal_info else { return Ok(Input::NoSuggestions) };
    let url = format!("{renewal_info}/{identifier}");
    let answered = https.get(&url).await?;
    let RenewalInfo { suggested_window: window, .. } = read(&url, &answered)?;
    let window = Window { start: window.start.into(), end: window.end.into() };
    Ok(Input::Suggested { window: Some(window), ask_after: answered.retry_after(SystemTime::now()) })
}

/// What is made of no answer of use: that there is a window is not unsaid by it, and a busy server's wish holds.
pub(crate) fn unanswered(retry_after: Option<Duration>) -> Input {
    Input::Suggested { window: None, ask_after: retry_after }
}

fn read<T: DeserializeOwned>(url: &str, answered: &Answered) -> Result<T, HttpError> {
    serde_json::from_slice(&answered.body)
        .map_err(|error| HttpError::Broken { url: url.to_owned(), error: error.into() })
}
