//! The user that a program runs as, from /etc/passwd. Directory services are not asked: with those, name
//! the user's number.

use serde::{Deserialize, Serialize};

const PASSWD: &str = "/etc/passwd";

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl User {
    /// By name or number; that this process may become that user too is checked.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let passwd = std::fs::read_to_string(PASSWD).map_err(|error| format!("{PASSWD} cannot be read: {error}"))?;
        let user = Self::of(&passwd, name).ok_or_else(|| format!("there is no user {name:?} in {PASSWD}"))?;
        let own = rustix::process::geteuid().as_raw();
        if own != 0 && own != user.uid {
            return Err(format!("only root can run a program as {name:?}, and this process is user {own}"));
        }
        Ok(user)
    }

    fn of(passwd: &str, name: &str) -> Option<Self> {
        let entries = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            Some((name, Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))
        });
        let number: Option<u32> = name.parse().ok();
        let found = entries.into_iter().find(|(known, user)| *known == name || Some(user.uid) == number);
        // A number needs no entry; its group is then the same number.
        found.map(|(_, user)| user).or_else(|| number.map(|id| Self { uid: id, gid: id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nodd line\nwww-data:x:33:34::/var/www:/usr/sbin/nologin\n";
        for (name, found) in [("root", Some((0, 0))), ("www-data", Some((33, 34))), ("33", Some((33, 34)))] {
            assert_eq!(User::of(passwd, name).map(|user| (user.uid, user.gid)), found, "{name}");
        }
        assert_eq!(User::of(passwd, "4711"), Some(User { uid: 4711, gid: 4711 }));
        assert_eq!(User::of(passwd, "nobody"), None);
    }
}
