//! The layers of a key's value: flag over environment over file over default.
//!
//! ```text
//!   flag ─┐
//!   TASKRUNNERX_X, or the content of TASKRUNNERX_X_FILE ─┼─> Form::read ─> the first one there is
//!   the file's x ─┘                                            └─> faults, of every one there is
//! ```
//!
//! A value that a higher layer hides is checked all the same: otherwise it would lie in wait for the day that layer
//! goes away. The exception is a hidden `${NAME}`, whose variable need not exist where nobody asks for it.

use std::path::Path;

use super::entries::as_toml_key;
use super::environment::{Environment, variable_of};
use super::error::{Effective, Fault};
use super::file::{File, fill_in, without_line_break};
use super::form::{Form, Given, Wrong};
use super::secret::HIDDEN;

/// The origin of a value that nobody gave.
const DEFAULT: &str = "default";

/// A key of the table and where else than in the file it can be set.
pub(super) struct Key {
    name: &'static str,
    flag: Option<(&'static str, Option<String>)>,
    shared_variable: Option<&'static str>,
    secret: bool,
}

impl Key {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, flag: None, shared_variable: None, secret: false }
    }

    /// The flag and what was given with it, if it was.
    pub(super) fn flag(self, name: &'static str, value: Option<&String>) -> Self {
        Self { flag: Some((name, value.cloned())), ..self }
    }

    /// A variable that other programs read too. Ours goes first, being the more specific one.
    pub(super) fn shared_variable(self, name: &'static str) -> Self {
        Self { shared_variable: Some(name), ..self }
    }

    /// Never shown, and `${NAME}` and `${file:PATH}` in the file's value are filled in.
    pub(super) fn secret(self) -> Self {
        Self { secret: true, ..self }
    }
}

/// A key that was asked for, with all that there is to know of it beforehand.
pub(super) struct Asked {
    pub key: String,
    pub takes: String,
    /// None: the key of a table that only the file has.
    pub default: Option<String>,
    pub flag: Option<&'static str>,
    pub shared_variable: Option<&'static str>,
}

struct Found {
    given: Given,
    origin: String,
}

/// Reads keys, and keeps what there is to say about them.
pub(super) struct Layers<'a> {
    environment: &'a Environment,
    file: Option<&'a File>,
    known: Vec<&'static str>,
    /// None: nobody wants to know.
    asked: Option<Vec<Asked>>,
    pub faults: Vec<Fault>,
    pub effective: Vec<Effective>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(environment: &'a Environment, file: Option<&'a File>) -> Self {
        Self { environment, file, known: Vec::new(), asked: None, faults: Vec::new(), effective: Vec::new() }
    }

    /// The same, which keeps what it is asked for.
    pub(super) fn describing(self) -> Self {
        Self { asked: Some(Vec::new()), ..self }
    }

    /// What [`describing`](Self::describing) kept.
    pub(super) fn take_asked(self) -> Vec<Asked> {
        self.asked.unwrap_or_default()
    }

    /// A key of one of the file's own tables is asked for.
    pub(super) fn asks<F: Form>(&mut self, path: &str, key: &str, form: &F) {
        self.asks_for(path, key, || form.takes());
    }

    /// The same where another reader knows the forms.
    pub(super) fn asks_for(&mut self, path: &str, key: &str, takes: impl FnOnce() -> String) {
        if let Some(asked) = &mut self.asked {
            let (key, takes) = (format!("{path}.{key}"), takes());
            asked.push(Asked { key, takes, default: None, flag: None, shared_variable: None });
        }
    }

    /// The keys that were asked for so far, which once all sections are read are all there are.
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    pub(super) fn file(&self) -> Option<&'a File> {
        self.file
    }

    /// The key's value, or the default; the default too where there is a fault, which stops the start in the end.
    pub(super) fn value<F: Form>(&mut self, key: Key, form: &F, default: F::Value) -> F::Value {
        let shown = form.show(&default);
        self.read(&key, form, &shown).unwrap_or(default)
    }

    /// The key's value if there is one; `absent` says what none means.
    pub(super) fn optional<F: Form>(&mut self, key: Key, form: &F, absent: &str) -> Option<F::Value> {
        self.read(&key, form, &format!("({absent})"))
    }

    /// Adds a fault to a key that was read before.
    pub(super) fn fault(&mut self, key: &str, problem: impl Into<String>) {
        let origin = self.effective.iter().find(|value| value.key == key).map_or(DEFAULT, |value| &value.origin);
        self.faults.push(Fault::new(key, origin, problem));
    }

    fn read<F: Form>(&mut self, key: &Key, form: &F, default: &str) -> Option<F::Value> {
        self.known.push(key.name);
        if let Some(asked) = &mut self.asked {
            asked.push(Asked {
                key: key.name.to_owned(),
                takes: form.takes(),
                default: Some(default.to_owned()),
                flag: key.flag.as_ref().map(|(flag, _)| *flag),
                shared_variable: key.shared_variable,
            });
        }
        let mut chosen: Option<(F::Value, String)> = None;
        for Found { given, origin } in self.found(key) {
            match form.read(&given) {
                Ok(value) => chosen = chosen.or(Some((value, origin))),
                Err(wrongs) => {
                    let got = if key.secret { "a hidden value".to_owned() } else { given.shown() };
                    self.refuse(key.name, &origin, &got, &form.takes(), wrongs);
                }
            }
        }
        let (value, shown, origin) = match chosen {
            Some((value, origin)) => {
                let shown = form.show(&value);
                (Some(value), shown, origin)
            }
            None => (None, default.to_owned(), DEFAULT.to_owned()),
        };
        self.effective.push(Effective { key: key.name.to_owned(), value: shown, origin, default: default.to_owned() });
        value
    }

    /// A copy of `value` whose texts, however deep, have their `${NAME}` and `${file:PATH}` filled in.
    ///
    /// # Errors
    /// What could not be filled in: where in the value (`.part`, or nothing), and the problem.
    pub(super) fn filled(&self, value: &toml::Value) -> Result<toml::Value, Vec<(String, String)>> {
        let mut value = value.clone();
        let mut faults = Vec::new();
        fill(&mut value, String::new(), self.environment, &mut faults);
        if faults.is_empty() { Ok(value) } else { Err(faults) }
    }

    /// Turns what a form had to say into faults.
    pub(super) fn refuse(&mut self, key: &str, origin: &str, got: &str, takes: &str, wrongs: Vec<Wrong>) {
        for wrong in wrongs {
            self.faults.push(match wrong {
                Wrong::Unfit(None) => Fault::new(key, origin, format!("got {got}; takes {takes}")),
                Wrong::Unfit(Some(why)) => Fault::new(key, origin, format!("got {got}, which {why}; takes {takes}")),
                Wrong::Part(below, problem) => Fault::new(format!("{key}{below}"), origin, problem),
            });
        }
    }

    /// Every layer that has the key, the highest first.
    fn found(&mut self, key: &Key) -> Vec<Found> {
        let mut found = Vec::new();
        if let Some((flag, Some(text))) = &key.flag {
            found.push(Found { given: Given::Text(text.clone()), origin: format!("flag {flag}") });
        }
        let variable = variable_of(key.name);
        self.look_at_variable(key, &variable, &mut found);
        self.look_into_named_file(key, &variable, &mut found);
        if let Some(shared) = key.shared_variable.filter(|shared| self.speaks_to_us(shared, &found)) {
            self.look_at_variable(key, shared, &mut found);
        }
        self.look_into_file(key, &mut found);
        found
    }

    /// A shared variable is not only for us: an empty one, or one that a layer of ours hides, is not our business.
    fn speaks_to_us(&self, shared: &str, found: &[Found]) -> bool {
        found.is_empty() && self.environment.raw(shared).is_some_and(|value| !value.is_empty())
    }

    fn look_at_variable(&mut self, key: &Key, variable: &str, found: &mut Vec<Found>) {
        let origin = format!("environment variable {variable}");
        match self.environment.text(variable) {
            None => {}
            Some(Ok(text)) => found.push(Found { given: Given::Text(text.to_owned()), origin }),
            Some(Err(problem)) => self.faults.push(Fault::new(key.name, origin, problem)),
        }
    }

    /// The content of the file that `NAME_FILE` names, as container platforms hand out secrets.
    fn look_into_named_file(&mut self, key: &Key, variable: &str, found: &mut Vec<Found>) {
        let pointer = format!("{variable}_FILE");
        let Some(path) = self.environment.raw(&pointer) else {
            return;
        };
        let path = Path::new(path);
        let origin = format!("environment variable {pointer}");
        if self.environment.raw(variable).is_some() {
            let problem = format!("got both {variable} and {pointer}; takes one of them");
            self.faults.push(Fault::new(key.name, origin, problem));
            return;
        }
        match self.environment.read(path) {
            Ok(content) => {
                let text = without_line_break(&content).to_owned();
                let origin = format!("file {} named by {pointer}", path.display());
                found.push(Found { given: Given::Text(text), origin });
            }
            Err(error) => {
                let problem = format!("cannot read {}: {error}", path.display());
                self.faults.push(Fault::new(key.name, origin, problem));
            }
        }
    }

    fn look_into_file(&mut self, key: &Key, found: &mut Vec<Found>) {
        let Some((file, value)) = self.file.and_then(|file| Some((file, file.get(key.name)?))) else {
            return;
        };
        let origin = file.origin.clone();
        let given = match value {
            toml::Value::String(text) if key.secret && text.contains("${") => {
                if !found.is_empty() {
                    return;
                }
                match fill_in(text, self.environment) {
                    Ok(filled) => Given::Text(filled),
                    Err(problems) => {
                        let fault = |problem| Fault::new(key.name, origin.clone(), problem);
                        self.faults.extend(problems.into_iter().map(fault));
                        return;
                    }
                }
            }
            value => Given::Typed(value.clone()),
        };
        found.push(Found { given, origin });
    }
}

fn fill(value: &mut toml::Value, place: String, environment: &Environment, faults: &mut Vec<(String, String)>) {
    match value {
        toml::Value::String(text) => match fill_in(text, environment) {
            Ok(filled) => *text = filled,
            Err(problems) => faults.extend(problems.into_iter().map(|problem| (place.clone(), problem))),
        },
        toml::Value::Array(values) => values.iter_mut().for_each(|v| fill(v, place.clone(), environment, faults)),
        toml::Value::Table(table) => {
            for (name, inner) in table.iter_mut() {
                fill(inner, format!("{place}.{}", as_toml_key(name)), environment, faults);
            }
        }
        _ => {}
    }
}

/// How a secret that is set appears among the effective values.
pub(super) fn hidden<T>(_: &T) -> String {
    HIDDEN.to_owned()
}
