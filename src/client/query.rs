//! A path with parameters.

use url::form_urlencoded::Serializer;

/// What stands behind the question mark, escaped.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pairs: Vec<(&'static str, String)>,
}

impl Query {
    pub(super) fn add(&mut self, key: &'static str, value: impl ToString) -> &mut Self {
        self.pairs.push((key, value.to_string()));
        self
    }

    /// Several values of one kind, of which any is meant; none: nothing is said of it.
    pub(super) fn any_of(&mut self, key: &'static str, values: &[String]) -> &mut Self {
        if !values.is_empty() {
            self.add(key, values.join(","));
        }
        self
    }

    pub(super) fn maybe(&mut self, key: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.add(key, value);
        }
        self
    }

    pub(super) fn path(&self, path: &str) -> String {
        if self.pairs.is_empty() {
            return path.to_owned();
        }
        let mut pairs = Serializer::new(String::new());
        pairs.extend_pairs(&self.pairs);
        format!("{path}?{}", pairs.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_what_is_not_given_is_not_asked() {
        let mut query = Query::default();
        query.any_of("status", &["queued".to_owned(), "failed".to_owned()]).any_of("queue", &[]);
        query.maybe("cursor", None).maybe("created_after", Some("2030-01-31T12:00:00+01:00")).add("limit", 7);
        let path = query.path("/api/tasks");
        assert_eq!(path, "/api/tasks?status=queued%2Cfailed&created_after=2030-01-31T12%3A00%3A00%2B01%3A00&limit=7");
        assert_eq!(Query::default().path("/x"), "/x");
    }
}
