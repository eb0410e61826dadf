//! The configuration from outside, in made-up surroundings.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Environment, Flags, Warning};

mod entries;
mod faults;
mod http;
mod keys;
mod layering;
mod secrets;

/// Flags, variables and files.
#[derive(Default, Clone)]
struct World {
    flags: Flags,
    variables: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, String>,
}

impl World {
    fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }

    fn at(mut self, path: &str, text: &str) -> Self {
        self.files.insert(PathBuf::from(path), text.to_owned());
        self
    }

    fn load(self) -> Result<(Config, Vec<Warning>), ConfigError> {
        let files = self.files;
        let read = move |path: &Path| files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
        Config::load(&self.flags, &Environment::new(self.variables, read), cron)
    }

    fn config(self) -> Config {
        self.load().expect("a good configuration").0
    }

    fn faults(self) -> Vec<String> {
        self.load().expect_err("a bad configuration").faults.iter().map(ToString::to_string).collect()
    }

    fn warnings(self) -> Vec<String> {
        self.load().expect("a good configuration").1.iter().map(ToString::to_string).collect()
    }
}

fn file(text: &str) -> World {
    World::default().at("taskrunnerx.toml", text)
}

fn variable(name: &str, value: &str) -> World {
    World::default().with(name, value)
}

/// Stands in for the cron module: everything is right but what says otherwise.
fn cron(expression: &str, zone: &str) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    if expression.contains("bad") {
        faults.push("the minute is bad".to_owned());
        faults.push("the hour is bad".to_owned());
    }
    if zone.contains("Mars") {
        faults.push(format!("no such zone: {zone}"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The effective value of a key, and where it came from.
fn effective(config: &Config, key: &str) -> (String, String) {
    let found = config.effective().into_iter().find(|value| value.key == key).expect("a key");
    (found.value, found.origin)
}
