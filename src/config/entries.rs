//! The tables that only the file has, one for each name: `[tasks.NAME]` and `[schedules.NAME]`.

use super::error::{Effective, Fault};
use super::form::{Form, Given};
use super::layers::Layers;
use super::unknown::nearest;
use crate::task::name::{self, MAX_NAME, quoted};

/// One such table, or a table within it.
pub(super) struct Entry<'a> {
    /// The NAME.
    pub name: &'a str,
    pub(super) path: String,
    pub(super) origin: &'a str,
    pub(super) table: &'a toml::Table,
    known: Vec<&'static str>,
}

/// The tables under `section`, those with a name that is none left out with a fault.
pub(super) fn entries<'a>(layers: &mut Layers<'a>, section: &'static str) -> Vec<Entry<'a>> {
    let Some(file) = layers.file() else {
        return Vec::new();
    };
    let origin = file.origin.as_str();
    let tables = match file.table.get(section) {
        None => return Vec::new(),
        Some(toml::Value::Table(tables)) => tables,
        Some(_) => {
            layers.faults.push(Fault::new(section, origin, format!("takes a table: [{section}.NAME]")));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for (name, value) in tables {
        let path = format!("{section}.{}", as_toml_key(name));
        let named = name::check(name, MAX_NAME);
        if let Err(fault) = &named {
            layers.faults.push(Fault::new(&path, origin, fault.to_string()));
        }
        match value.as_table() {
            Some(table) if named.is_ok() => entries.push(Entry { name, path, origin, table, known: Vec::new() }),
            Some(_) => {}
            None => layers.faults.push(Fault::new(&path, origin, format!("takes a table: [{section}.NAME]"))),
        }
    }
    entries
}

/// Bare where TOML allows it, else in quotes, so that a name with dots in it reads as one.
pub(super) fn as_toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { quoted(name) }
}

impl<'a> Entry<'a> {
    /// A value of this table, if it is there and right.
    pub(super) fn optional<F: Form>(
        &mut self,
        layers: &mut Layers<'a>,
        key: &'static str,
        form: &F,
    ) -> Option<F::Value> {
        self.known.push(key);
        layers.asks(&self.path, key, form);
        let given = Given::Typed(self.table.get(key)?.clone());
        let path = format!("{}.{key}", self.path);
        self.take(layers, path, form, &given, &given.shown())
    }

    /// As [`optional`](Self::optional) for a value that may hold secrets: what was given is never shown, and `${NAME}`
    /// and `${file:PATH}` in its texts are filled in.
    pub(super) fn optional_secret<F: Form>(
        &mut self,
        layers: &mut Layers<'a>,
        key: &'static str,
        form: &F,
    ) -> Option<F::Value> {
        self.known.push(key);
        layers.asks(&self.path, key, form);
        let path = format!("{}.{key}", self.path);
        let given = match layers.filled(self.table.get(key)?) {
            Ok(filled) => Given::Typed(filled),
            Err(problems) => {
                let fault = |(place, problem)| Fault::new(format!("{path}{place}"), self.origin, problem);
                layers.faults.extend(problems.into_iter().map(fault));
                return None;
            }
        };
        self.take(layers, path, form, &given, "a hidden value")
    }

    fn take<F: Form>(
        &self,
        layers: &mut Layers<'a>,
        key: String,
        form: &F,
        given: &Given,
        got: &str,
    ) -> Option<F::Value> {
        match form.read(given) {
            Ok(value) => {
                let (value_shown, origin) = (form.show(&value), self.origin.to_owned());
                layers.effective.push(Effective { key, value: value_shown, origin, default: "(none)".to_owned() });
                Some(value)
            }
            Err(wrongs) => {
                layers.refuse(&key, self.origin, got, &form.takes(), wrongs);
                None
            }
        }
    }

    /// Whether the key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table within this one, and a fault where it is something else.
    pub(super) fn optional_table(
        &mut self,
        layers: &mut Layers<'a>,
        key: &'static str,
        takes: &str,
    ) -> Option<Entry<'a>> {
        self.known.push(key);
        let path = format!("{}.{key}", self.path);
        match self.table.get(key)? {
            toml::Value::Table(table) => {
                Some(Entry { name: self.name, path, origin: self.origin, table, known: Vec::new() })
            }
            other => {
                let got = Given::Typed(other.clone()).shown();
                self.fault(layers, key, format!("got {got}; takes {takes}"));
                None
            }
        }
    }

    /// A fault at a place in this table, as in `.task.name`; empty: of the table as a whole.
    pub(super) fn fault_at(&self, place: &str, problem: &str) -> Fault {
        Fault::new(format!("{}{place}", self.path), self.origin, problem)
    }

    /// A fault at a key of this table.
    pub(super) fn fault(&self, layers: &mut Layers<'a>, key: &str, problem: impl Into<String>) {
        let path = format!("{}.{}", self.path, as_toml_key(key));
        layers.faults.push(Fault::new(path, self.origin, problem));
    }

    /// Refuses every key that was not asked for: those of `unsupported` with `because`, others as unknown.
    pub(super) fn refuse_others(self, layers: &mut Layers<'a>, unsupported: &[&str], because: &str) {
        for key in self.table.keys().filter(|key| !self.known.contains(&key.as_str())) {
            if unsupported.contains(&key.as_str()) {
                self.fault(layers, key, because);
            } else {
                let hint = nearest(key, &self.known).map(|near| format!("; the nearest is `{near}`"));
                self.fault(layers, key, format!("is not a key{}", hint.unwrap_or_default()));
            }
        }
    }
}
