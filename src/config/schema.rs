//! `schema` of a `[tasks.NAME]`: a JSON Schema, as a table or as the path of a file.

use serde_json::Value;

use super::form::{Form, Given, Wrong};
use super::json;

/// Bytes of a schema's file.
const MAX_FILE: u64 = 1 << 20;

/// Where it came from, and the schema. Whether it is one only who applies it knows.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaConfig {
    /// None: it stands in the configuration.
    pub file: Option<String>,
    pub json: Value,
}

pub(super) struct Schema;

impl Form for Schema {
    type Value = SchemaConfig;

    fn takes(&self) -> String {
        "a JSON Schema as a table, or the path of a JSON file that holds one".to_owned()
    }

    fn read(&self, given: &Given) -> Result<SchemaConfig, Vec<Wrong>> {
        let unfit = |reason: String| vec![Wrong::Unfit(Some(reason))];
        match given {
            Given::Typed(table @ toml::Value::Table(_)) => match json::from_toml(table) {
                Ok(json) => Ok(SchemaConfig { file: None, json }),
                Err(json::NotJson) => Err(unfit("holds nan or inf, which JSON does not have".to_owned())),
            },
            _ => {
                let path = given.as_text().ok_or_else(|| vec![Wrong::Unfit(None)])?;
                let text = read(path).map_err(|error| unfit(format!("cannot be read: {error}")))?;
                let json = serde_json::from_str(&text).map_err(|error| unfit(format!("is not JSON: {error}")))?;
                Ok(SchemaConfig { file: Some(path.to_owned()), json })
            }
        }
    }

    fn show(&self, value: &SchemaConfig) -> String {
        value.file.clone().unwrap_or_else(|| "(inline)".to_owned())
    }
}

fn read(path: &str) -> std::io::Result<String> {
    let length = std::fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(std::io::Error::other(format!("it has {length} bytes; at most {MAX_FILE} are taken")));
    }
    std::fs::read_to_string(path)
}
