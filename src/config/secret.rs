//! Values that never reach logs, errors or the `config` command.

use std::fmt;

/// What stands in place of a secret.
pub(super) const HIDDEN: &str = "***";

/// A key, a password, or a URL that may hold one. `Debug` and `Display` hide it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` from here on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A URL without its secrets, for logs: `mysql://trx:***@db:3306/trx`.
    #[must_use]
    pub fn masked_url(&self) -> String {
        masked_url(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({HIDDEN})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// The query parameters of MySQL and Redis URLs that hold no secret.
const OPEN_PARAMETERS: [&str; 6] = ["db", "protocol", "require_ssl", "socket", "verify_ca", "verify_identity"];

/// Takes passwords out of a text that holds a URL; any other text stays as it is.
///
/// It rather hides too much than too little: a password may hold a raw `/`, `?`, `#` or `@`, so everything up to the
/// last `@` counts as credentials, and of a query only the parameters known to be harmless keep their values.
pub(super) fn masked_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, rest),
    };
    let credentials = match credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
        None => String::new(),
        Some((user, "")) => format!("{}@", plain_or_hidden(user)),
        Some((user, _)) => format!("{}:{HIDDEN}@", plain_or_hidden(user)),
    };
    let place = match place.split_once('?') {
        None => place.to_owned(),
        Some((path, query)) => {
            let parameters: Vec<String> = query.split('&').map(masked_parameter).collect();
            format!("{path}?{}", parameters.join("&"))
        }
    };
    format!("{scheme}://{credentials}{place}")
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if OPEN_PARAMETERS.contains(&name) => parameter.to_owned(),
        Some((name, _)) => format!("{}={HIDDEN}", plain_or_hidden(name)),
        None => HIDDEN.to_owned(),
    }
}

/// A user or parameter name; anything with other characters may be part of a password that was not escaped.
fn plain_or_hidden(name: &str) -> &str {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain { name } else { HIDDEN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_itself() {
        let secret = Secret::new("hunter2hunter2hunter2");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "*** Secret(***) Some(\n    Secret(***),\n)");
        assert_eq!(secret.expose(), "hunter2hunter2hunter2");
    }

    #[test]
    fn masks_every_password_in_a_url() {
        for (url, masked) in [
            ("mysql://root@localhost/trx", "mysql://root@localhost/trx"),
            ("mysql://trx:pw@db:3306/trx?socket=/run/my.sock", "mysql://trx:***@db:3306/trx?socket=/run/my.sock"),
            ("mysql://trx:p@w/p?w#p@db/trx", "mysql://trx:***@db/trx"),
            ("mysql://db/trx?x=p@w", "mysql://***@w"),
            ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
            ("redis://h/0", "redis://h/0"),
            ("redis+unix:///run/r.sock?db=1&pass=p&w=w&w", "redis+unix:///run/r.sock?db=1&pass=***&w=***&***"),
            ("rediss://h:6379/0#insecure", "rediss://h:6379/0#insecure"),
            ("not a url", "not a url"),
        ] {
            assert_eq!(Secret::new(url).masked_url(), masked);
        }
    }
}
