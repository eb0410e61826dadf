//! A JSON object field by field, so that every fault is found and none hides another. Values
//! stay as they were sent until one is asked for.

use super::name::quoted;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// One fault of the input: where, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// A JSON pointer as a fragment, as in `#/delay`.
    pub pointer: String,
    /// What was got and what is accepted.
    pub detail: String,
}

impl Fault {
    /// A fault of the field at `pointer`, given without the `#`.
    pub fn at(pointer: &str, detail: impl fmt::Display) -> Self {
        Self { pointer: format!("#{pointer}"), detail: detail.to_string() }
    }

    /// The same fault, of an object that stands at `pointer` in a larger one.
    #[must_use]
    pub fn within(self, pointer: &str) -> Self {
        let own = self.pointer.strip_prefix('#').unwrap_or_default();
        Self { pointer: format!("#{pointer}{own}"), detail: self.detail }
    }

    /// Where it is as TOML has it, to go on behind the name of its table: `.task.tags.0`, or nothing for the whole.
    #[must_use]
    pub fn dotted(&self) -> String {
        let parts = self.pointer.split('/').skip(1);
        parts.map(|part| format!(".{}", part.replace("~1", "/").replace("~0", "~"))).collect()
    }
}

/// An object's fields. Each is taken once; [`Fields::finish`] complains of the rest.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: Vec<(Cow<'a, str>, &'a RawValue)>,
    faults: Vec<Fault>,
    known: Vec<&'static str>,
}

/// Keeps the pairs as they stand, without a map: objects here have a handful of fields.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A key that borrows from the text unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(8);
                while let Some(Key(key)) = map.next_key()? {
                    pairs.push((key, map.next_value::<&RawValue>()?));
                    if pairs.len() > MAX_FIELDS {
                        return Err(A::Error::custom(format_args!("an object of more than {MAX_FIELDS} fields")));
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A list's items as they stand: the first so many, and how many there are. A list may have more
/// than anybody should hold.
struct Items<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

/// Reads [`Items`] and keeps at most this many.
struct Most(usize);

impl<'de> DeserializeSeed<'de> for Most {
    type Value = Items<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Items<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Most {
    type Value = Items<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<'de>, A::Error> {
        let mut items = Items { first: Vec::new(), count: 0 };
        while items.count < self.0 {
            let Some(item) = list.next_element()? else { return Ok(items) };
            items.first.push(item);
            items.count += 1;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            items.count += 1;
        }
        Ok(items)
    }
}

/// More fields than any object of the interface has: faults are listed up to here.
const MAX_FIELDS: usize = 100;

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// When the text is no JSON, or no object; the message says where.
    pub fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let Pairs(entries) = serde_json::from_str(text)?;
        let mut faults = Vec::new();
        for (i, (key, _)) in entries.iter().enumerate() {
            if entries.iter().take(i).any(|(earlier, _)| earlier == key) {
                faults.push(Fault::at(&format!("/{}", escaped(key)), "stands twice; each field may stand once"));
            }
        }
        Ok(Self { entries, faults, known: Vec::new() })
    }

    /// Whether a field that nobody has taken yet stands there with a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && value.get() != "null")
    }

    /// Takes a field as it was sent. JSON `null` counts as absent.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a str> {
        self.raw_or_null(name).filter(|text| *text != "null")
    }

    /// Takes a field as it was sent, `null` included.
    pub fn raw_or_null(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        let at = self.entries.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.entries.remove(at);
        // A field that stood twice has been complained of: its other values go too.
        self.entries.retain(|(key, _)| key != name);
        Some(value.get())
    }

    /// Takes a field through a reader of its JSON text; a fault is noted.
    pub fn take<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        match read(self.raw(name)?) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(&format!("/{name}"), fault);
                None
            }
        }
    }

    /// Takes a string through a check.
    pub fn string<E: fmt::Display>(
        &mut self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Option<String> {
        self.take(name, |text| {
            let value: String = serde_json::from_str(text).map_err(|_| got(text, "a string"))?;
            check(&value).map_err(|fault| fault.to_string())?;
            Ok::<_, String>(value)
        })
    }

    /// Takes a whole number in a range.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        self.take(name, |text| match whole(text) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => Err(got(text, &format!("a whole number from {} to {}", range.start(), range.end()))),
        })
    }

    /// Takes a list of 1 to `most` items, as they were sent. `what` they are, for whoever sent something else.
    pub fn items(&mut self, name: &'static str, most: usize, what: &str) -> Option<Vec<&'a RawValue>> {
        let takes = format!("a list of 1 to {most} {what}");
        let fault = match self.raw_or_null(name) {
            None => format!("is missing; takes {takes}"),
            Some(text) => match Most(most).deserialize(&mut serde_json::Deserializer::from_str(text)) {
                Err(_) => got(text, &takes),
                Ok(Items { first, count }) if (1..=most).contains(&count) => return Some(first),
                Ok(Items { count, .. }) => format!("has {count} items; takes {takes}"),
            },
        };
        self.fault(&format!("/{name}"), fault);
        None
    }

    /// Notes a fault at a pointer.
    pub fn fault(&mut self, pointer: &str, detail: impl fmt::Display) {
        self.faults.push(Fault::at(pointer, detail));
    }

    /// Notes a fault that was found elsewhere.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Whether a fault of this very pointer was noted.
    #[must_use]
    pub fn has_fault(&self, pointer: &str) -> bool {
        self.faults.iter().any(|fault| fault.pointer.strip_prefix('#') == Some(pointer))
    }

    /// Takes those of these fields that stand here and belong elsewhere, each with a fault that says so. They are not known.
    pub fn misplaced(&mut self, names: &[&str], detail: impl Fn(&str) -> String) {
        for name in names {
            if self.entries.iter().any(|(key, _)| key == name) {
                self.entries.retain(|(key, _)| key != name);
                self.fault(&format!("/{name}"), detail(name));
            }
        }
    }

    /// Complains of the fields that nobody took, and gives all faults.
    #[must_use]
    pub fn finish(mut self) -> Vec<Fault> {
        for (key, _) in std::mem::take(&mut self.entries) {
            let nearest = nearest(self.known.iter().copied(), |known| likeness(&key, known));
            let hint = nearest.map_or(String::new(), |known| format!("; did you mean {known}?"));
            let known = match self.known.as_slice() {
                [] => "this takes none".to_owned(),
                known => format!("known: {}", known.join(", ")),
            };
            let detail = format!("is not a known field{hint} ({known})");
            self.fault(&format!("/{}", escaped(&key)), detail);
        }
        self.faults
    }
}

/// Two words are no more alike than this: nobody has meant the one by the other.
const UNLIKE: f64 = 0.8;
/// Of two words of which one is a part of the other; shorter ones are parts of too many.
const PART: (f64, usize) = (0.9, 3);

/// How much a word is like one that there is: 1 where it is the same.
#[must_use]
pub fn likeness(word: &str, known: &str) -> f64 {
    let (part, least) = PART;
    let is_part = word.len().min(known.len()) >= least && (known.contains(word) || word.contains(known));
    strsim::jaro_winkler(word, known).max(if is_part { part } else { 0.0 })
}

/// The one that was meant, perhaps; None: what was said is like none of them.
pub fn nearest<T: Copy>(known: impl Iterator<Item = T>, likeness: impl Fn(T) -> f64) -> Option<T> {
    let alike = known.map(|one| (likeness(one), one)).filter(|(likeness, _)| *likeness > UNLIKE);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, one)| one)
}

/// Reads a whole number. Its fraction may be written where it is zero: to JSON, and to some of the programs that write
/// it, 5 and 5.0 are the same number.
#[must_use]
pub fn whole(text: &str) -> Option<u32> {
    serde_json::from_str(text).ok().or_else(|| {
        let number = serde_json::from_str::<f64>(text).ok().filter(|number| number.fract() == 0.0)?;
        // An integer without a fraction; what does not fit into the type does not read back.
        format!("{number:.0}").parse().ok()
    })
}

/// `got …; takes …`, with long values cut.
pub fn got(text: &str, takes: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("got {shown}{more}; takes {takes}")
}

/// A key as a part of a JSON pointer, cut where it is long.
fn escaped(key: &str) -> String {
    let cut: String = key.chars().take(100).collect();
    cut.replace('~', "~0").replace('/', "~1")
}

/// A string value for a message.
pub fn shown(text: &str) -> String {
    quoted(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_at_once() {
        let mut fields = Fields::read(r#"{"a": 1, "b": "x", "a": 2, "prioritty": 5, "c/d": 1}"#).unwrap();
        assert_eq!(fields.number("a", 0..=9), Some(1));
        assert_eq!(fields.number("b", 0..=9), None);
        assert_eq!(fields.number("priority", 0..=9), None);
        let faults = fields.finish();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/a", "#/b", "#/prioritty", "#/c~1d"]);
        assert_eq!(faults[1].detail, "got \"x\"; takes a whole number from 0 to 9");
        assert!(faults[2].detail.contains("did you mean priority?"), "{}", faults[2].detail);
    }

    #[test]
    fn a_word_is_suggested_only_where_it_is_like_the_one_that_was_said() {
        let said = |text: &str, known: Option<&'static str>| {
            let mut fields = Fields::read(text).unwrap();
            if let Some(known) = known {
                let _ = fields.raw(known);
            }
            fields.finish().remove(0).detail
        };
        assert!(said(r#"{"time": 1}"#, Some("timeout")).contains("did you mean timeout? (known: timeout)"));
        assert_eq!(said(r#"{"zzz": 1}"#, Some("timeout")), "is not a known field (known: timeout)");
        assert_eq!(said(r#"{"zzz": 1}"#, None), "is not a known field (this takes none)");
    }

    #[test]
    fn a_faults_place_is_told_as_toml_has_it_too() {
        let dotted = |pointer: &str| Fault::at(pointer, "").dotted();
        assert_eq!([dotted(""), dotted("/task/tags/0"), dotted("/a~1b~0")], ["", ".task.tags.0", ".a/b~"]);
        assert_eq!(Fault::at("/name", "").within("/task").dotted(), ".task.name");
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        for (text, number) in [
            ("9", Some(9)),
            ("10", None),
            ("5.0", Some(5)),
            ("5.5", None),
            ("1e0", Some(1)),
            ("1e300", None),
            ("-1", None),
            ("-1.0", None),
            ("\"5\"", None),
            ("true", None),
        ] {
            let object = format!("{{\"n\": {text}}}");
            let mut fields = Fields::read(&object).unwrap();
            assert_eq!(fields.number("n", 0..=9), number, "{text}");
            assert_eq!(fields.finish().is_empty(), number.is_some());
        }
    }

    #[test]
    fn a_list_is_taken_up_to_its_limit_and_counted_beyond_it() {
        let items = |list: &str| {
            let text = format!("{{\"list\": {list}}}");
            let mut fields = Fields::read(&text).unwrap();
            let taken = fields.items("list", 3, "things").map(|items| items.iter().map(|item| item.get().len()).sum());
            (taken, fields.finish().into_iter().map(|fault| fault.detail).collect::<Vec<_>>().join(","))
        };
        assert_eq!(items("[1, [2, 3], {\"a\": null}]"), (Some(18), String::new()));
        assert_eq!(items("[\"one\"]"), (Some(5), String::new()));
        for (list, detail) in [
            ("[]", "has 0 items; takes a list of 1 to 3 things"),
            ("[1, 2, 3, [4, [5]]]", "has 4 items; takes a list of 1 to 3 things"),
            ("null", "got null; takes a list of 1 to 3 things"),
            ("{\"a\": 1}", "got {\"a\": 1}; takes a list of 1 to 3 things"),
        ] {
            assert_eq!(items(list), (None, detail.to_owned()));
        }
        let mut fields = Fields::read("{}").unwrap();
        assert!(fields.items("list", 3, "things").is_none());
        assert_eq!(fields.finish()[0].detail, "is missing; takes a list of 1 to 3 things");
    }

    #[test]
    fn what_is_no_object_is_said() {
        for text in ["", "[]", "1", "{", "{\"a\":}", "nonsense"] {
            assert!(Fields::read(text).is_err(), "{text}");
        }
    }
}
