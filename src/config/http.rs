//! `http` of a `[tasks.NAME]`: the call that an attempt is, and the keys that it is signed with.
//!
//! The URL, the secrets and the header values may hold `${NAME}` and `${file:PATH}`. All of them are hidden: of a URL
//! only scheme, host and port are ever shown, since what many services take for a password is its path.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use url::{Host, Url};

use super::entries::Entry;
use super::form::{Form, Given, Span, Why, Word, Wrong, why};
use super::layers::{Layers, hidden};
use super::reach::AllowPrivate;
use super::secret::HIDDEN;

const DEFAULT_CONNECT: Duration = Duration::from_secs(10);
const DEFAULT_RESPONSE: Duration = Duration::from_secs(30);
const DEFAULT_TOTAL: Duration = Duration::from_secs(60);
/// As long as an attempt may take.
const LIMIT: Span = Span { min: Duration::from_millis(1), max: Duration::from_secs(30 * 86_400) };

/// What a key of [Standard Webhooks](https://www.standardwebhooks.com) begins with; base64 follows.
const KEY_PREFIX: &str = "whsec_";
const MAX_KEYS: usize = 4;
const MAX_HEADERS: usize = 64;

/// Headers that the call itself sets, or that would change what it means.
const OWN_HEADERS: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];
const OWN_PREFIX: &str = "taskrunnerx-";

/// `http` of a task type.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    pub endpoint: Endpoint,
    pub method: Method,
    /// Besides those that every call has.
    pub headers: HeaderMap,
    /// Each of them signs every call, the first one first. None: no signature.
    pub keys: Vec<SigningKey>,
    /// For a connection, from the look-up of the name to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// From the beginning until the answer's headers are there.
    pub response_timeout: Duration,
    /// From the beginning to the end of the answer.
    pub total_timeout: Duration,
}

/// Where a call goes. Shows its scheme, host and port only.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    pub uri: Uri,
    pub host: Host<String>,
    pub port: u16,
    pub https: bool,
    origin: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// The bytes that sign a call. Hides itself.
#[derive(Clone, PartialEq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({HIDDEN})")
    }
}

const TABLE: &str = r#"a table with at least a url: { url = "https://example.com/hook", secret = "${SECRET}" }"#;
const URL: Word<Endpoint> = Word {
    takes: "an http or https URL without user name and password, such as \"https://example.com/hook\"",
    read: read_url,
    show: |endpoint| match endpoint.uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        None | Some("/") => format!("{endpoint}/"),
        Some(_) => format!("{endpoint}/{HIDDEN}"),
    },
};
const METHOD: Word<Method> = Word {
    takes: "one of POST, PUT, PATCH, DELETE and GET (GET sends no payload)",
    read: |text| match text {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        "GET" => Ok(Method::GET),
        _ => Err(None),
    },
    show: Method::to_string,
};

/// None: there is no such table, or it left its faults.
pub(super) fn read<'a>(
    layers: &mut Layers<'a>,
    entry: &mut Entry<'a>,
    allow_private: &AllowPrivate,
) -> Option<HttpCall> {
    let mut table = entry.optional_table(layers, "http", TABLE)?;
    if !table.has("url") {
        table.fault(layers, "url", format!("is missing; takes {}", URL.takes));
    }
    let endpoint = table.optional_secret(layers, "url", &URL);
    if let Some(refused) = endpoint.as_ref().and_then(|endpoint| allow_private.check_literal(&endpoint.host).err()) {
        table.fault(layers, "url", refused.to_string());
    }
    let method = table.optional(layers, "method", &METHOD);
    let headers = table.optional_secret(layers, "headers", &Headers);
    let keys = table.optional_secret(layers, "secret", &Keys);
    let connect_timeout = table.optional(layers, "connect_timeout", &LIMIT);
    let response_timeout = table.optional(layers, "response_timeout", &LIMIT);
    let total_timeout = table.optional(layers, "total_timeout", &LIMIT);
    table.refuse_others(layers, &[], "");
    Some(HttpCall {
        endpoint: endpoint?,
        method: method.unwrap_or(Method::POST),
        headers: headers.unwrap_or_default(),
        keys: keys.unwrap_or_default(),
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT),
        response_timeout: response_timeout.unwrap_or(DEFAULT_RESPONSE),
        total_timeout: total_timeout.unwrap_or(DEFAULT_TOTAL),
    })
}

fn read_url(text: &str) -> Result<Endpoint, Why> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return why("has white space in it");
    }
    let mut url = Url::parse(text).map_err(|error| Some(format!("is no URL ({error})")))?;
    let https = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return why("does not start with http:// or https://"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return why("holds a user name or a password: an authorization header in `headers` can");
    }
    url.set_fragment(None);
    let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
        return why("names no host");
    };
    let Ok(uri) = url.as_str().parse::<Uri>() else { return why("has a path or query that cannot be sent") };
    Ok(Endpoint { uri, host, port, https, origin: url.origin().ascii_serialization() })
}

/// One signing key, or several where one replaces the other.
struct Keys;

impl Form for Keys {
    type Value = Vec<SigningKey>;

    fn takes(&self) -> String {
        format!(
            "a secret, or a list of up to {MAX_KEYS} that all sign: \"{KEY_PREFIX}\" and base64, or any other text, \
             whose bytes are the key"
        )
    }

    fn read(&self, given: &Given) -> Result<Vec<SigningKey>, Vec<Wrong>> {
        let texts: Option<Vec<&str>> = match given {
            Given::Typed(toml::Value::Array(values)) => values.iter().map(toml::Value::as_str).collect(),
            _ => given.as_text().map(|text| vec![text]),
        };
        let read = match texts {
            None => Err(None),
            Some(texts) if texts.is_empty() => why("holds none"),
            Some(texts) if texts.len() > MAX_KEYS => why("holds too many"),
            Some(texts) => texts.into_iter().map(read_key).collect(),
        };
        read.map_err(|reason| vec![Wrong::Unfit(reason)])
    }

    fn show(&self, keys: &Vec<SigningKey>) -> String {
        match keys.len() {
            1 => HIDDEN.to_owned(),
            count => format!("{HIDDEN} ({count} secrets)"),
        }
    }
}

fn read_key(text: &str) -> Result<SigningKey, Why> {
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let key = match text.strip_prefix(KEY_PREFIX) {
        None => text.as_bytes().to_vec(),
        // The error would quote the secret.
        Some(encoded) => {
            let Ok(key) = BASE64.decode(encoded) else {
                return why(format!("has no base64 behind {KEY_PREFIX}"));
            };
            key
        }
    };
    if key.is_empty() { why("is empty") } else { Ok(SigningKey(key)) }
}

/// Header names and their values.
struct Headers;

impl Form for Headers {
    type Value = HeaderMap;

    fn takes(&self) -> String {
        format!(
            r#"a table of up to {MAX_HEADERS} header names and texts, such as {{ authorization = "Bearer ${{TOKEN}}" }}"#
        )
    }

    fn read(&self, given: &Given) -> Result<HeaderMap, Vec<Wrong>> {
        let Given::Typed(toml::Value::Table(table)) = given else { return Err(vec![Wrong::Unfit(None)]) };
        if table.len() > MAX_HEADERS {
            return Err(vec![Wrong::Unfit(Some("holds too many".to_owned()))]);
        }
        let mut headers = HeaderMap::new();
        let mut wrongs = Vec::new();
        for (name, value) in table {
            let read = read_header(name, value).and_then(|(name, value)| match headers.insert(name, value) {
                None => Ok(()),
                Some(_) => Err("is there twice".to_owned()),
            });
            if let Err(problem) = read {
                wrongs.push(Wrong::Part(format!(".{}", super::entries::as_toml_key(name)), problem));
            }
        }
        if wrongs.is_empty() { Ok(headers) } else { Err(wrongs) }
    }

    fn show(&self, headers: &HeaderMap) -> String {
        headers.iter().map(|(name, value)| format!("{name}={}", hidden(value))).collect::<Vec<_>>().join(",")
    }
}

fn read_header(name: &str, value: &toml::Value) -> Result<(HeaderName, HeaderValue), String> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err("is no header name; takes letters, digits and -".to_owned());
    };
    if OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with(OWN_PREFIX) {
        return Err("is set by the call itself".to_owned());
    }
    let Some(text) = value.as_str() else { return Err("got a hidden value; takes a text".to_owned()) };
    let Ok(mut value) = HeaderValue::from_str(text) else {
        return Err("got a hidden value, which holds a control character; takes a text on one line".to_owned());
    };
    value.set_sensitive(true);
    Ok((name, value))
}
