//! A JSON Schema for the payloads of a task type: checked at submission, shown by the API.

use crate::task::Fault;
use jsonschema::Validator;
use serde_json::Value;
use std::fmt;

/// Faults of one payload that are listed.
const MAX_FAULTS: usize = 20;
/// Characters of one fault's text: it quotes the payload.
const MAX_TEXT: usize = 300;

/// A schema that can be applied. References to other documents are not followed.
#[derive(Clone)]
pub struct Schema {
    json: Value,
    validator: Validator,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.json)
    }
}

impl Schema {
    /// Reads a schema; draft 2020-12 unless `$schema` names another.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(json: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .build(&json)
            .map_err(|error| format!("is no JSON Schema: {error} (at #{})", error.instance_path()))?;
        Ok(Self { json, validator })
    }

    /// The schema itself.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// What of a payload does not fit, each fault with its pointer.
    #[must_use]
    pub fn check(&self, payload: &str) -> Vec<Fault> {
        let value: Value = match serde_json::from_str(payload) {
            Ok(value) => value,
            Err(error) => return vec![Fault::at("/payload", format_args!("is not JSON: {error}"))],
        };
        let fault = |error: jsonschema::ValidationError<'_>| {
            let text: String = error.to_string().chars().take(MAX_TEXT).collect();
            Fault::at(&format!("/payload{}", error.instance_path()), text)
        };
        self.validator.iter_errors(&value).take(MAX_FAULTS).map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_fault_of_a_payload_has_its_pointer() {
        let schema = json!({
            "type": "object",
            "required": ["to"],
            "properties": {"to": {"type": "string"}, "copies": {"type": "integer", "minimum": 1}},
            "additionalProperties": false,
        });
        let schema = Schema::new(schema).unwrap();
        assert_eq!(schema.check(r#"{"to": "a", "copies": 2}"#), []);
        let faults = schema.check(r#"{"copies": 0, "cc": 1}"#);
        let pointers: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(pointers.contains(&"#/payload/copies") && pointers.contains(&"#/payload"), "{faults:?}");
        assert_eq!(schema.check("null").len(), 1);
    }

    #[test]
    fn what_is_no_schema_or_points_elsewhere_is_refused() {
        for wrong in [json!({"type": "strnig"}), json!(5), json!({"$ref": "https://example.com/schema.json"})] {
            assert!(Schema::new(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
