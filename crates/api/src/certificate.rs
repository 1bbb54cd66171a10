//! Certificates of services.

use proxima_types::{IssuerName, ServiceName};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// All certificates of services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// By service, each in the order it is chosen in.
    pub certificates: Vec<Certificate>,
}

/// A certificate that a service shows, or waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The service.
    pub service: ServiceName,
    /// The file it is in.
    pub file: String,
    /// Its names; of one that is not there yet, those that it will have.
    pub names: Vec<String>,
    /// When it ends; absent while there is none.
    pub ends: Option<Timestamp>,
    /// Where its orders stand; absent where the file is somebody else's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<CertificateOrder>,
}

/// What `POST /v1/certificates/{service}/renew` answers: the order is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewing {
    /// The service.
    pub service: ServiceName,
    /// From whom its certificate is ordered.
    pub issuer: IssuerName,
}

/// Where the orders of a certificate stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateOrder {
    /// From whom it is ordered.
    pub issuer: IssuerName,
    /// When the next order is due; absent: one is under way.
    pub next: Option<Timestamp>,
    /// How many have failed since one went well.
    pub failures: u32,
    /// Why the last of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
