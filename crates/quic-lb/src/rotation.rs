//! All configurations in use: new IDs are written by one of them, those of the others are still read.
//!
//! To change key or lengths: add the new configuration everywhere, then activate it everywhere, then wait until the
//! connections with old IDs have ended, then remove the old one everywhere.

use crate::{Config, ConfigId, DecodeError, ServerId};

/// The configurations in use, by their three bits.
#[derive(Debug, Clone)]
pub struct Rotation {
    active: ConfigId,
    configs: [Option<Config>; ConfigId::COUNT],
}

impl Rotation {
    /// Writes and reads by `active`.
    pub fn new(active: Config) -> Self {
        let id = active.id();
        let mut configs = [const { None }; ConfigId::COUNT];
        configs[id.index()] = Some(active);
        Self { active: id, configs }
    }

    /// Reads by `config` too, in place of one that had its code point; `false` if that is the active one, which stays.
    pub fn add(&mut self, config: Config) -> bool {
        let free = config.id() != self.active;
        if free {
            let place = config.id().index();
            self.configs[place] = Some(config);
        }
        free
    }

    /// Writes by the configuration `id` from now on; `false` if there is none.
    pub fn activate(&mut self, id: ConfigId) -> bool {
        let known = self.configs[id.index()].is_some();
        if known {
            self.active = id;
        }
        known
    }

    /// Forgets a configuration; `false` if there is none, or it is the active one, which stays.
    pub fn remove(&mut self, id: ConfigId) -> bool {
        id != self.active && self.configs[id.index()].take().is_some()
    }

    /// The configuration that new IDs are written by.
    pub fn active(&self) -> &Config {
        self.configs[self.active.index()]
            .as_ref()
            .expect("the active configuration is neither removed nor replaced")
    }

    /// The server ID in `connection_id`, by the configuration it says.
    pub fn decode(&self, connection_id: &[u8]) -> Result<ServerId, DecodeError> {
        let id = ConfigId::of(connection_id).ok_or(DecodeError::Configuration)?;
        self.configs[id.index()].as_ref().ok_or(DecodeError::Configuration)?.decode(connection_id)
    }
}
