//! `[scheduler]`: the built-in heartbeat, a task that shows every minute that the whole way works.

use super::CheckCron;
use super::form::{Form, Given, Wrong};
use super::layers::{Key, Layers};
use super::secret::masked_url;

const DEFAULT_HEARTBEAT: &str = "0 * * * * *";

/// `[scheduler]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduler {
    /// When the heartbeat task fires, a cron expression in UTC that was checked; `None` turns it off.
    pub heartbeat: Option<String>,
}

pub(super) fn read(layers: &mut Layers, check_cron: CheckCron) -> Scheduler {
    let default = Some(DEFAULT_HEARTBEAT.to_owned());
    Scheduler { heartbeat: layers.value(Key::new("scheduler.heartbeat"), &Cron { check: check_cron }, default) }
}

/// A cron expression in UTC, or an empty text for none.
struct Cron {
    check: CheckCron,
}

impl Form for Cron {
    type Value = Option<String>;

    fn takes(&self) -> String {
        r#"a cron expression such as "0 * * * * *" (seconds first), or an empty text to turn it off"#.to_owned()
    }

    fn read(&self, given: &Given) -> Result<Option<String>, Vec<Wrong>> {
        let text = given.as_text().ok_or_else(|| vec![Wrong::Unfit(None)])?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        match (self.check)(text, "UTC") {
            Ok(()) => Ok(Some(text.to_owned())),
            Err(faults) => Err(faults
                .into_iter()
                .map(|fault| Wrong::Part(String::new(), format!("got {}: {}", given.shown(), masked_url(&fault))))
                .collect()),
        }
    }

    fn show(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_else(|| "(off)".to_owned())
    }
}
