//! How parts of a [`Snapshot`](crate::Snapshot) are written down.

/// Octets as base64 (RFC 4648 §4): as an array of numbers they would be three times as long.
pub mod octets {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes octets; for `#[serde(with = "octets")]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(octets: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(octets))
    }

    /// Reads octets.
    ///
    /// # Errors
    /// When they are not in base64.
    pub fn deserialize<'de, T: From<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(T::from).map_err(D::Error::custom)
    }
}

/// [`octets`] that may be absent.
pub(crate) mod optional_octets {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Octets(#[serde(with = "super::octets")] Vec<u8>);

    #[derive(Serialize)]
    struct Borrowed<'a>(#[serde(with = "super::octets")] &'a [u8]);

    #[expect(clippy::ref_option, reason = "serde hands over the field")]
    pub(crate) fn serialize<S: Serializer>(
        octets: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        octets.as_deref().map(Borrowed).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Octets>::deserialize(deserializer)?.map(|Octets(octets)| octets))
    }
}

/// A role by its number (RFC 9234 §4.1).
pub(crate) mod role {
    use proxima_bgp_wire::Role;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    const ALL: [Role; 5] =
        [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer];

    #[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde hands over the field")]
    pub(crate) fn serialize<S: Serializer>(role: &Option<Role>, serializer: S) -> Result<S::Ok, S::Error> {
        role.map(|role| role as u8).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Role>, D::Error> {
        let Some(number) = Option::<u8>::deserialize(deserializer)? else { return Ok(None) };
        let role = ALL.into_iter().find(|role| *role as u8 == number);
        role.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is no role")))
    }
}
