//! What a key may do: the scopes, and which of them include others.

use std::fmt;

/// A right that a key has, or that a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Look at tasks, queues, workers.
    Read,
    /// Submit tasks. Does not include looking at them.
    Submit,
    /// Claim tasks and report on them, as a worker outside.
    Work,
    /// Cancel, retry, pause: whatever changes what is there. Includes `read` and `submit`.
    Operate,
    /// Make and revoke keys. Includes `operate`.
    Admin,
}

impl Scope {
    /// In the order in which they are listed to people.
    pub const ALL: [Self; 5] = [Self::Read, Self::Submit, Self::Work, Self::Operate, Self::Admin];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Work => "work",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    /// The scope of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Whether who has this one may do what needs the other. `work` and `submit` stand alone.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == other
            || match self {
                Self::Admin => Self::Operate.includes(other),
                Self::Operate => matches!(other, Self::Read | Self::Submit),
                Self::Read | Self::Submit | Self::Work => false,
            }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_includes_what_the_interface_lists_and_nothing_else() {
        let includes = |scope: Scope| -> Vec<&str> {
            Scope::ALL.into_iter().filter(|other| scope.includes(*other)).map(Scope::as_str).collect()
        };
        assert_eq!(includes(Scope::Read), ["read"]);
        assert_eq!(includes(Scope::Submit), ["submit"]);
        assert_eq!(includes(Scope::Work), ["work"]);
        assert_eq!(includes(Scope::Operate), ["read", "submit", "operate"]);
        assert_eq!(includes(Scope::Admin), ["read", "submit", "operate", "admin"]);
    }

    #[test]
    fn words_read_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("root"), None);
    }
}
