//! TOML values as JSON: the REST interface and the file share their rules, and those read JSON.

use serde_json::{Map, Number, Value};

/// The same value in JSON; dates and times become their text.
///
/// # Errors
/// `nan` and `inf` somewhere in it, which JSON does not have.
pub(crate) fn from_toml(value: &toml::Value) -> Result<Value, NotJson> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::Number(Number::from_f64(*number).ok_or(NotJson)?),
        toml::Value::Boolean(flag) => Value::Bool(*flag),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => Value::Array(values.iter().map(from_toml).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => {
            let member = |(key, value): (&String, _)| from_toml(value).map(|value| (key.clone(), value));
            Value::Object(table.iter().map(member).collect::<Result<Map<_, _>, _>>()?)
        }
    })
}

/// A number that JSON cannot hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_every_kind_of_value() {
        let table: toml::Table = r#"
            text = "a\"b"
            number = -9007199254740993
            float = 0.5
            flag = true
            when = 2026-01-31T10:00:00Z
            day = 2026-01-31
            list = [1, "two", [3]]
            [inner]
            x = {}
        "#
        .parse()
        .expect("TOML");
        assert_eq!(
            from_toml(&toml::Value::Table(table)).map(|value| value.to_string()).as_deref(),
            Ok(concat!(
                r#"{"day":"2026-01-31","flag":true,"float":0.5,"inner":{"x":{}},"list":[1,"two",[3]],"#,
                r#""number":-9007199254740993,"text":"a\"b","when":"2026-01-31T10:00:00Z"}"#
            ))
        );
    }

    #[test]
    fn refuses_what_json_does_not_have() {
        for float in [f64::NAN, f64::INFINITY] {
            let nested = toml::Value::Array(vec![toml::Value::Float(float)]);
            assert_eq!(from_toml(&nested), Err(NotJson));
        }
    }
}
