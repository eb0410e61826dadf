//! A server's setting that endangers what this program promises: one judgement, for `/health`,
//! the log and `doctor`.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// One setting that is dangerous as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hazard {
    /// As the server calls it.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// What it may cost.
    pub risk: String,
    /// What to do about it.
    pub remedy: String,
    /// Whether accepted tasks may be lost; else they are only late.
    pub loses_tasks: bool,
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}; {}", self.setting, self.value, self.risk, self.remedy)
    }
}

/// Logs each hazard once when it is first seen, again when it changes, and when it is gone.
#[derive(Debug)]
pub struct HazardLog {
    /// Whose settings: begins the log lines.
    subject: &'static str,
    known: Mutex<Vec<Hazard>>,
}

/// What a look at the settings brought.
#[derive(Debug, PartialEq, Eq)]
enum News<'a> {
    Found(&'a Hazard),
    Gone(&'a Hazard),
}

impl HazardLog {
    /// `subject` begins the log lines, as in "database".
    #[must_use]
    pub const fn new(subject: &'static str) -> Self {
        Self { subject, known: Mutex::new(Vec::new()) }
    }

    /// Takes what a look at the server's settings showed; logs what is new.
    pub fn saw(&self, found: &[Hazard]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for news in news(&known, found) {
            match news {
                News::Found(hazard) => tracing::warn!(
                    setting = hazard.setting,
                    value = hazard.value,
                    loses_tasks = hazard.loses_tasks,
                    "{} setting: {hazard}",
                    self.subject
                ),
                News::Gone(hazard) => tracing::info!(
                    setting = hazard.setting,
                    "{} setting: {} is no longer {}; that risk is gone",
                    self.subject,
                    hazard.setting,
                    hazard.value
                ),
            }
        }
        *known = found.to_vec();
    }
}

/// A setting that went from one dangerous value to another is found, and not gone.
fn news<'a>(known: &'a [Hazard], found: &'a [Hazard]) -> Vec<News<'a>> {
    let new = found.iter().filter(|hazard| !known.contains(hazard)).map(News::Found);
    let gone = known.iter().filter(|old| !found.iter().any(|hazard| hazard.setting == old.setting)).map(News::Gone);
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hazard(setting: &'static str, value: &str) -> Hazard {
        let (risk, remedy) = ("it may burn".to_owned(), "put it out".to_owned());
        Hazard { setting, value: value.to_owned(), risk, remedy, loses_tasks: false }
    }

    #[test]
    fn a_sentence_says_what_is_set_what_it_risks_and_what_to_do() {
        assert_eq!(hazard("fire", "on").to_string(), "fire is on: it may burn; put it out");
    }

    #[test]
    fn each_is_news_once_and_again_when_it_changes_or_is_gone() {
        let (on, off, other) = (hazard("fire", "on"), hazard("fire", "glowing"), hazard("flood", "rising"));
        assert_eq!(news(&[], std::slice::from_ref(&on)), [News::Found(&on)]);
        assert_eq!(news(std::slice::from_ref(&on), std::slice::from_ref(&on)), []);
        assert_eq!(news(std::slice::from_ref(&on), std::slice::from_ref(&off)), [News::Found(&off)]);
        assert_eq!(news(&[on.clone(), other.clone()], std::slice::from_ref(&other)), [News::Gone(&on)]);
        assert_eq!(
            news(std::slice::from_ref(&on), std::slice::from_ref(&other)),
            [News::Found(&other), News::Gone(&on)]
        );
    }
}
