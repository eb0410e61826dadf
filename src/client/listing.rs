//! Lists over several pages, as one.

use super::answers::broken;
use super::query::Query;
use super::{Client, ClientError};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// A list that the server gives in pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a str,
    /// The field that holds the items.
    pub(super) plural: &'static str,
    /// Items in one page, at most.
    pub(super) page: u32,
}

/// The items of all pages that were asked for, each as the server gave it.
#[derive(Debug)]
pub struct Listing {
    plural: &'static str,
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

impl Listing {
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether there is more than was asked for.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.next_cursor.is_some()
    }

    /// As one page that has them all.
    #[must_use]
    pub fn to_json(&self) -> String {
        let items: Vec<&str> = self.items.iter().map(|item| item.get()).collect();
        let next = serde_json::to_string(&self.next_cursor).unwrap_or_default();
        format!("{{\"{}\":[{}],\"next_cursor\":{next}}}", self.plural, items.join(","))
    }

    /// The parts of the items that are looked at.
    ///
    /// # Errors
    /// `Broken` where one is something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, ClientError> {
        self.items.iter().map(|item| serde_json::from_str(item.get()).map_err(|error| broken(&error))).collect()
    }
}

impl Client {
    /// Page after page until there are as many, or no more. A page may be short and still not the last.
    pub(super) async fn pages(
        &self,
        source: Source<'_>,
        query: &Query,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Listing, ClientError> {
        let Source { path, plural, page } = source;
        let mut listing = Listing { plural, items: Vec::new(), next_cursor: cursor };
        loop {
            let left = limit.saturating_sub(u32::try_from(listing.items.len()).unwrap_or(u32::MAX));
            let mut asked = query.clone();
            asked.add("limit", left.min(page)).maybe("cursor", listing.next_cursor.as_deref());
            let reply = self.get(&asked.path(path)).await?;
            let mut fields: HashMap<String, Box<RawValue>> = reply.read()?;
            let items =
                fields.remove(plural).ok_or_else(|| ClientError::Broken(format!("the answer has no {plural}")))?;
            let items: Vec<Box<RawValue>> = serde_json::from_str(items.get()).map_err(|error| broken(&error))?;
            listing.items.extend(items);
            listing.next_cursor = match fields.get("next_cursor") {
                Some(next) => serde_json::from_str(next.get()).map_err(|error| broken(&error))?,
                None => None,
            };
            if listing.next_cursor.is_none() || listing.items.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                return Ok(listing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_joined_as_one() {
        let item = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let items = vec![item(r#"{"a": 1.50}"#), item(r#"{"a": 2, "b": 3}"#)];
        let listing = Listing { plural: "things", items, next_cursor: Some("c".to_owned()) };
        assert_eq!(listing.to_json(), r#"{"things":[{"a": 1.50},{"a": 2, "b": 3}],"next_cursor":"c"}"#);
        let read: Vec<HashMap<String, f64>> = listing.read().unwrap();
        assert_eq!((read.len(), read[0]["a"], listing.has_more()), (2, 1.5, true));
        let none = Listing { plural: "things", items: Vec::new(), next_cursor: None };
        assert_eq!(none.to_json(), r#"{"things":[],"next_cursor":null}"#);
    }
}
