//! Reads SHOW GRANTS: which of the privileges that are needed an account lacks.

/// What every process needs.
const TO_SERVE: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
/// What the migrations need besides.
const TO_MIGRATE: [&str; 4] = ["CREATE", "ALTER", "INDEX", "DROP"];
/// Each lets an account write where read_only is on.
const BEYOND_READ_ONLY: [&str; 5] =
    ["ALL PRIVILEGES", "SUPER", "CONNECTION_ADMIN", "READ_ONLY ADMIN", "READ ONLY ADMIN"];

/// What an account lacks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) missing: Vec<&'static str>,
    /// Only what migrations need is missing.
    pub(super) only_for_migrations: bool,
    /// There are roles, or grants on single tables, which are not looked into.
    pub(super) partly_seen: bool,
}

/// One grant: its privileges, and where they hold.
fn parts(grant: &str) -> Option<(Vec<&str>, &str)> {
    let (privileges, rest) = grant.strip_prefix("GRANT ")?.split_once(" ON ")?;
    let (scope, _) = rest.split_once(" TO ")?;
    Some((privileges.split(',').map(str::trim).collect(), scope))
}

/// What the account lacks on this database.
pub(super) fn missing(grants: &[String], database: &str) -> Missing {
    let mut held: Vec<&str> = Vec::new();
    let mut partly_seen = false;
    for grant in grants {
        match parts(grant) {
            Some((privileges, scope)) if scope == "*.*" || is_on(scope, database) => held.extend(privileges),
            Some((_, scope)) => partly_seen |= scope.starts_with(&format!("`{database}`.`")),
            None => partly_seen |= grant.starts_with("GRANT `"),
        }
    }
    let lacks = |name: &&&'static str| !held.contains(*name) && !held.contains(&"ALL PRIVILEGES");
    let serving: Vec<&str> = TO_SERVE.iter().filter(lacks).copied().collect();
    let migrating: Vec<&str> = TO_MIGRATE.iter().filter(lacks).copied().collect();
    Missing { only_for_migrations: serving.is_empty(), missing: [serving, migrating].concat(), partly_seen }
}

/// Whether the account writes where `read_only` is on. Unseen grants: it may not.
pub(super) fn may_write_read_only(grants: Option<&[String]>) -> bool {
    let everywhere = |grant: &String| match parts(grant) {
        Some((privileges, "*.*")) => privileges.iter().any(|privilege| BEYOND_READ_ONLY.contains(privilege)),
        _ => false,
    };
    grants.unwrap_or_default().iter().any(everywhere)
}

/// Whether `` `pattern`.* `` means this database; a pattern is one of LIKE.
fn is_on(scope: &str, database: &str) -> bool {
    let pattern = scope.strip_suffix(".*").map(|name| name.trim_matches('`').replace("``", "`"));
    pattern.is_some_and(|pattern| like(pattern.as_bytes(), database.as_bytes()))
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        ([b'%', rest @ ..], text) => {
            like(rest, text) || text.split_first().is_some_and(|(_, text)| like(pattern, text))
        }
        ([b'\\', literal, rest @ ..], [first, text @ ..]) => literal == first && like(rest, text),
        ([b'_', rest @ ..], [_, text @ ..]) => like(rest, text),
        ([literal, rest @ ..], [first, text @ ..]) => literal == first && like(rest, text),
        (_, []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(grants: &[&str]) -> Missing {
        missing(&grants.iter().map(|grant| (*grant).to_owned()).collect::<Vec<_>>(), "trx_live")
    }

    #[test]
    fn grants_on_everything_on_the_database_and_on_patterns_count() {
        for grant in [
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
            "GRANT ALL PRIVILEGES ON `trx_live`.* TO `trx`@`%`",
            "GRANT ALL PRIVILEGES ON `trx\\_live`.* TO `trx`@`%`",
            "GRANT ALL PRIVILEGES ON `trx%`.* TO `trx`@`%`",
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, INDEX, ALTER ON *.* TO `root`@`localhost`",
        ] {
            assert_eq!(of(&["GRANT USAGE ON *.* TO `trx`@`%`", grant]).missing, [""; 0], "{grant}");
        }
    }

    #[test]
    fn the_account_of_the_documents_has_what_is_needed_and_no_more() {
        let documented =
            include_str!("../../../docs/how-to/deploy.md").lines().filter(|line| line.starts_with("GRANT "));
        let granted: Vec<Vec<&str>> =
            documented.map(|line| parts(line).map_or_else(Vec::new, |(privileges, _)| privileges)).collect();
        assert_eq!(granted, [TO_SERVE.to_vec(), TO_MIGRATE.to_vec()]);
    }

    #[test]
    fn what_is_missing_is_named_and_what_cannot_be_seen_is_said() {
        let serving = "GRANT SELECT, INSERT, UPDATE, DELETE ON `trx_live`.* TO `trx`@`%`";
        let found = of(&[serving]);
        assert_eq!((found.missing, found.only_for_migrations), (TO_MIGRATE.to_vec(), true));
        let found = of(&["GRANT SELECT (id), ALTER, CREATE, INDEX, DROP, INSERT, UPDATE ON `trx_live`.* TO `trx`@`%`"]);
        assert_eq!(
            (found.missing, found.only_for_migrations, found.partly_seen),
            (vec!["SELECT", "DELETE"], false, false)
        );
        let found = of(&[
            "GRANT ALL PRIVILEGES ON `other`.* TO `trx`@`%`",
            "GRANT ALL PRIVILEGES ON `trx\\_li`.* TO `trx`@`%`",
        ]);
        assert_eq!((found.missing.len(), found.partly_seen), (8, false));
        assert!(of(&["GRANT USAGE ON *.* TO `trx`@`%`", "GRANT `writer`@`%` TO `trx`@`%`"]).partly_seen);
        assert!(of(&["GRANT SELECT ON `trx_live`.`tasks` TO `trx`@`%`"]).partly_seen);
    }

    #[test]
    fn an_administrator_writes_where_others_may_only_read() {
        let may = |grant: &str| may_write_read_only(Some(&[grant.to_owned()]));
        assert!(may("GRANT SELECT, SUPER ON *.* TO `a`@`%`") && may("GRANT CONNECTION_ADMIN,X ON *.* TO `a`@`%`"));
        assert!(!may("GRANT ALL PRIVILEGES ON `trx`.* TO `a`@`%`") && !may_write_read_only(None));
    }
}
