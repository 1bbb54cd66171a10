//! Accounts and directories that daemons insist on, private to the sandbox.
//!
//! FRR wants its user in the group `frrvty`, OpenBGPD changes to `_openbgpd`, and FRR leaves crash logs in `/var/tmp`. In the
//! sandbox all of these accounts are root under another name, which works where a user namespace has no other user, and
//! `/var/tmp` is in memory.

use std::{fs, path::Path, sync::Mutex};

use nix::mount::{MsFlags, mount};

use crate::error::{Error, Result};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Makes them, once in a sandbox. Files go to `dir`.
pub(crate) fn prepare(dir: &Path) -> Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *done {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    overlay(dir, PASSWD, "_openbgpd", "_openbgpd:x:0:0::/run:/bin/false")?;
    overlay(dir, GROUP, "frrvty", "frrvty:x:0:root")?;
    let scratch = Path::new("/var/tmp");
    mount(Some("tmpfs"), scratch, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=1777"))
        .map_err(Error::io("mounting a private /var/tmp"))?;
    *done = true;
    Ok(())
}

/// Puts a copy of `file` over it in which `account` has this line.
fn overlay(dir: &Path, file: &str, account: &str, line: &str) -> Result<()> {
    let text = fs::read_to_string(file).map_err(Error::io(format!("reading {file}")))?;
    let copy = dir.join(Path::new(file).file_name().unwrap_or_default());
    fs::write(&copy, replaced(&text, account, line))
        .map_err(Error::io(format!("writing {}", copy.display())))?;
    mount(Some(&copy), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(Error::io(format!("covering {file} with {}", copy.display())))
}

fn replaced(text: &str, account: &str, line: &str) -> String {
    let others = text.lines().filter(|known| known.split(':').next() != Some(account));
    others.chain([line]).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_replaced_and_the_others_stay() {
        let text = "root:x:0:\nfrr:x:109:\nfrrvty:x:108:frr\n";
        assert_eq!(replaced(text, "frrvty", "frrvty:x:0:root"), "root:x:0:\nfrr:x:109:\nfrrvty:x:0:root\n");
        assert_eq!(replaced("root:x:0:\n", "frrvty", "frrvty:x:0:root"), "root:x:0:\nfrrvty:x:0:root\n");
    }
}
