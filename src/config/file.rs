//! The configuration file: which one, its text, and what the environment fills in.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::Flags;
use super::environment::Environment;
use super::error::Fault;

/// The file that is read when none is named, from the working directory, if it is there.
pub(super) const DEFAULT_FILE: &str = "taskrunnerx.toml";

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "TASKRUNNERX_CONFIG";

/// A file that was read and parsed.
#[derive(Debug)]
pub(super) struct File {
    pub table: toml::Table,
    /// As faults and effective values name it.
    pub origin: String,
}

impl File {
    /// Finds and reads the file. `None` where none is named and the default one is not there.
    ///
    /// # Errors
    /// A named file that is missing, one that cannot be read, or one that is not TOML.
    pub(super) fn load(flags: &Flags, environment: &Environment) -> Result<Option<Self>, Fault> {
        let (path, named_by) = match (&flags.config, environment.raw(FILE_VARIABLE)) {
            (Some(path), _) => (path.clone(), Some("flag --config".to_owned())),
            (None, Some(name)) => (PathBuf::from(name), Some(format!("environment variable {FILE_VARIABLE}"))),
            (None, None) => (PathBuf::from(OsString::from(DEFAULT_FILE)), None),
        };
        match environment.read(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound && named_by.is_none() => Ok(None),
            Err(error) => {
                let origin = named_by.unwrap_or_else(|| "working directory".to_owned());
                Err(Fault::new("config", origin, format!("cannot read {}: {error}", path.display())))
            }
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Fault> {
        let origin = format!("file {}", path.display());
        match text.parse() {
            Ok(table) => Ok(Self { table, origin }),
            // The message alone: the error's own Display quotes the line, which may hold a secret.
            Err(error) => {
                let place = error.span().and_then(|span| text.get(..span.start)).map(line_and_column);
                let place = place.map(|(line, column)| format!(", line {line}, column {column}")).unwrap_or_default();
                Err(Fault::new("config", format!("{origin}{place}"), format!("is not TOML: {}", error.message())))
            }
        }
    }

    /// The value of a dotted key.
    pub(super) fn get(&self, key: &str) -> Option<&toml::Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_table()?.get(part))
    }
}

/// Counted from 1, columns in characters.
fn line_and_column(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.chars().rev().take_while(|c| *c != '\n').count().saturating_add(1);
    (line, column)
}

/// Replaces every `${NAME}` by the variable of that name, and every `${file:PATH}` by the file's text without its last
/// line break.
///
/// # Errors
/// One line for each name that is not set, or that is not a name at all, and for each file that cannot be read. None
/// shows the text around it.
pub(super) fn fill_in(text: &str, environment: &Environment) -> Result<String, Vec<String>> {
    let mut filled = String::new();
    let mut faults = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            faults.push("has a ${ without its }; takes ${NAME} or ${file:PATH}".to_owned());
            return Err(faults);
        };
        if let Some(path) = name.strip_prefix("file:") {
            match environment.read(Path::new(path)) {
                Ok(content) => filled.push_str(without_line_break(&content)),
                Err(error) => faults.push(format!("names ${{file:{path}}}, which cannot be read: {error}")),
            }
        } else if !is_variable_name(name) {
            faults.push("has a ${…} that holds no variable name; takes ${NAME} or ${file:PATH}".to_owned());
        } else {
            match environment.text(name) {
                Some(Ok(value)) => filled.push_str(value),
                Some(Err(_)) => faults.push(format!("names ${{{name}}}, which is not UTF-8 in the environment")),
                None => faults.push(format!("names ${{{name}}}, which is not set in the environment")),
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    if faults.is_empty() { Ok(filled) } else { Err(faults) }
}

/// A file that holds one value mostly ends with a line break that is not part of it.
pub(super) fn without_line_break(content: &str) -> &str {
    let line = content.strip_suffix('\n').unwrap_or(content);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_variables() {
        let read = |path: &Path| match path.to_str() {
            Some("/run/s") => Ok("s3\r\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let environment = Environment::new([("A", "1"), ("B_2", "${A}"), ("E", "")], read);
        for (text, filled) in [
            ("", ""),
            ("plain $A {B}", "plain $A {B}"),
            ("${A}", "1"),
            ("x${A}y${B_2}z", "x1y${A}z"),
            ("[${E}]", "[]"),
            ("$${A}", "$1"),
            ("<${file:/run/s}>${A}", "<s3>1"),
        ] {
            assert_eq!(fill_in(text, &environment).as_deref(), Ok(filled), "{text}");
        }
        let faults =
            fill_in("${NOPE} ${A} ${ALSO_NOT} ${a b} ${file:/none} ${", &environment).expect_err("five faults");
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults[0].contains("${NOPE}") && faults[1].contains("${ALSO_NOT}"), "{faults:?}");
        assert!(faults[3].starts_with("names ${file:/none}, which cannot be read: "), "{faults:?}");
    }

    #[test]
    fn counts_lines_and_columns_from_one() {
        for (before, place) in [("", (1, 1)), ("ab", (1, 3)), ("ab\n", (2, 1)), ("a\r\né\nüx", (3, 3))] {
            assert_eq!(line_and_column(before), place, "{before:?}");
        }
    }
}
