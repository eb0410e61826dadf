//! What every route has: the scope it needs, the problems that may come, the request's id, HEAD, an example.

use super::super::routes::{self, Listed, Needs};
use super::words::{self, object};
use super::{examples, problems};
use actix_web::http::Method;
use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Header, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
    SecurityRequirement,
};

const BEARER: &str = "key";
const PROBLEM: &str = "application/problem+json";
/// Fields of answers (`*`: all) that are left out where there is nothing to say; all others are always there.
const SOMETIMES: [(&str, &str); 6] = [
    ("CauseFields", "*"),
    ("Key", "key"),
    ("Task", "warnings"),
    ("HealthPart", "detail"),
    ("HealthPart", "warnings"),
    ("LatestTask", "result"),
];

/// Where the key has a limit (draft-ietf-httpapi-ratelimit-headers).
const PACE: [(&str, &str); 2] = [
    ("RateLimit-Policy", "Requests a second that the key may make, where it has a limit."),
    ("RateLimit", "What is left of them."),
];

/// A problem that many routes have: its status, its name among the components, what it says.
type Common = (&'static str, &'static str, &'static str);
const COMMON: [Common; 10] = [
    ("400", "BadRequest", "The request cannot be read: its body is no JSON, its path or query no UTF-8."),
    ("401", "Unauthorized", "No key, or one that is not valid."),
    (
        "403",
        "Forbidden",
        "The key does not have the scope; or there are no keys, and the request is not from this machine.",
    ),
    ("404", "NotFound", "There is no such thing; or this process does not have the api role."),
    ("413", "ContentTooLarge", "The body is larger than this route takes."),
    ("415", "UnsupportedMediaType", "The body is not `application/json`."),
    ("422", "Invalid", "The request was understood and is wrong: `errors` lists every fault."),
    ("429", "TooManyRequests", "More requests than this key may make: again after `Retry-After` seconds."),
    ("500", "InternalError", "It says nothing but the request's id; the log says the rest."),
    ("503", "Unavailable", "The database is away, or the process starts or stops: again after `Retry-After` seconds."),
];

/// Completes what the handlers say of themselves.
pub(super) fn complete(document: &mut OpenApi) {
    for route in routes::listed() {
        if let Some(item) = document.paths.paths.get_mut(route.path) {
            complete_route(item, &route);
        }
    }
    components(document.components.get_or_insert_default());
}

fn complete_route(item: &mut PathItem, route: &Listed) {
    for (method, needs) in &route.methods {
        if let Some(operation) = of_method(item, method) {
            secure(operation, *needs);
            for (status, name, _) in common(operation, route.path, method, *needs) {
                let common = || RefOr::Ref(Ref::from_response_name(name));
                operation.responses.responses.entry(status.to_owned()).or_insert_with(common);
            }
            let id = operation.operation_id.as_deref().unwrap_or_default();
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    finish(response, status, problems::of(id, status));
                }
            }
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.content.values_mut().for_each(no_null);
                body.content.values_mut().for_each(exemplify);
            }
        }
    }
    if route.takes_head()
        && let Some(get) = &item.get
    {
        item.head = Some(head(get));
    }
}

/// The operation of a method.
pub(super) fn of_method<'a>(item: &'a mut PathItem, method: &Method) -> Option<&'a mut Operation> {
    let slot = match method.as_str() {
        "GET" => &mut item.get,
        "POST" => &mut item.post,
        "PUT" => &mut item.put,
        "DELETE" => &mut item.delete,
        _ => return None,
    };
    slot.as_mut()
}

fn secure(operation: &mut Operation, needs: Needs) {
    let key = |scope: Option<&str>| SecurityRequirement::new(BEARER, scope);
    operation.security = Some(match needs {
        Needs::Nothing => Vec::new(),
        Needs::MetricsKey => vec![SecurityRequirement::default(), key(None)],
        Needs::Scope(scope) => {
            operation.extensions = Some([("x-required-scope", scope.as_str())].into_iter().collect());
            vec![key(Some(scope.as_str()))]
        }
    });
}

/// The common problems of an operation.
fn common(operation: &Operation, path: &str, method: &Method, needs: Needs) -> Vec<Common> {
    let scope = matches!(needs, Needs::Scope(_));
    // A DELETE has none, and refuses one all the same.
    let body = operation.request_body.is_some() || method == Method::DELETE;
    // Each refuses parameters that it does not have.
    let input = scope || body;
    let comes = |status: &str| match status {
        "401" => scope || needs == Needs::MetricsKey,
        "403" | "404" | "429" | "503" => scope,
        "400" | "422" => input,
        "413" | "415" => body,
        _ => scope || path == "/metrics",
    };
    COMMON.into_iter().filter(|(status, ..)| comes(status)).collect()
}

/// An answer's headers, its example, and for a problem its body; `example` is for that.
fn finish(response: &mut Response, status: &str, example: Option<Value>) {
    if response.content.is_empty() && status.starts_with(['4', '5']) {
        response.content.insert(PROBLEM.to_owned(), RefOr::T(problem(example)));
    }
    response.headers.extend(headers(status));
    response.content.values_mut().for_each(exemplify);
}

fn problem(example: Option<Value>) -> Content {
    let schema = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    ContentBuilder::new().schema(Some(schema)).example(example).build()
}

/// The headers that answers of this status have.
fn headers(status: &str) -> Vec<(String, RefOr<Header>)> {
    let header = |name: &str, about: &str, schema: Schema| {
        (name.to_owned(), RefOr::T(HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()))
    };
    let text = || Schema::Object(words::string().build());
    let mut headers = vec![header("x-request-id", "The request's id, which the log has too.", text())];
    if matches!(status, "429" | "503") {
        headers.push(header("Retry-After", "Seconds to wait.", Schema::Object(words::whole(0, u32::MAX, ""))));
    }
    if status == "429" {
        for (name, about) in PACE {
            headers.push(header(name, about, text()));
        }
    }
    if status == "401" {
        headers.push(header("WWW-Authenticate", "`Bearer`.", text()));
    }
    headers
}

/// A body may be left out (an `Option`), and is not `null` then.
fn no_null(content: &mut RefOr<Content>) {
    if let RefOr::T(content) = content
        && let Some(RefOr::T(Schema::OneOf(either))) = &content.schema
        && let Some(item @ RefOr::Ref(_)) = either.items.iter().find(|item| matches!(item, RefOr::Ref(_)))
    {
        content.schema = Some(item.clone());
    }
}

fn exemplify(content: &mut RefOr<Content>) {
    let RefOr::T(content) = content else { return };
    if let Some(RefOr::Ref(of)) = &content.schema
        && content.example.is_none()
        && content.examples.is_empty()
    {
        content.example = of.ref_location.rsplit('/').next().and_then(examples::of);
    }
}

/// The same without bodies.
fn head(get: &Operation) -> Operation {
    let mut head = get.clone();
    head.operation_id = get.operation_id.as_ref().map(|id| format!("{id}Head"));
    head.summary = get.summary.as_ref().map(|summary| format!("{summary}: headers only"));
    head.description = None;
    for (status, response) in &mut head.responses.responses {
        let about = match &*response {
            RefOr::T(response) => response.description.clone(),
            RefOr::Ref(_) => {
                COMMON.iter().find(|(common, ..)| common == status).map_or("", |common| common.2).to_owned()
            }
        };
        let mut bare = ResponseBuilder::new().description(about).build();
        bare.headers.extend(headers(status));
        *response = RefOr::T(bare);
    }
    head
}

fn components(components: &mut Components) {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("trx_...").description(Some(
        "A key. Without any key configured none is needed, and only requests from the process's own machine are taken.",
    ));
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    for (status, name, about) in COMMON {
        let mut response = ResponseBuilder::new().description(about).build();
        finish(&mut response, status, problems::common(status));
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
    components.schemas.extend([("Problem".to_owned(), problem_schema()), ("Fault".to_owned(), fault_schema())]);
    for (name, schema) in &mut components.schemas {
        match schema {
            RefOr::T(Schema::Object(object)) => require(name, object),
            RefOr::T(Schema::AllOf(all)) => {
                for item in &mut all.items {
                    if let RefOr::T(Schema::Object(object)) = item {
                        require(name, object);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Answers have all their fields: what is not there is null. Bodies of requests say themselves what they need.
fn require(name: &str, object: &mut utoipa::openapi::Object) {
    if object.additional_properties.is_none() && name != "Problem" {
        let always =
            |field: &&String| !SOMETIMES.contains(&(name, field.as_str())) && !SOMETIMES.contains(&(name, "*"));
        object.required = object.properties.keys().filter(always).cloned().collect();
    }
}

fn fault_schema() -> RefOr<Schema> {
    let pointer =
        words::text(None, "Where: a JSON pointer into the body such as `#/delay`, or a parameter such as `?limit`.");
    let detail = words::text(None, "What was got, and what is accepted.");
    RefOr::T(
        object(
            "One fault of a request.",
            &["pointer", "detail"],
            vec![("pointer", pointer.into()), ("detail", detail.into())],
        )
        .into(),
    )
}

fn problem_schema() -> RefOr<Schema> {
    let faults = ArrayBuilder::new().items(RefOr::<Schema>::Ref(Ref::from_schema_name("Fault")));
    let fields = vec![
        ("type", words::text(None, "Always `about:blank`: the status says it.").into()),
        ("title", words::text(None, "The status in words.").into()),
        ("status", words::whole(400, 599, "The status.").into()),
        ("detail", words::text(None, "What is wrong, for a person.").into()),
        ("errors", faults.description(Some("Every fault of the request, where it has any.")).build().into()),
    ];
    RefOr::T(object("What went wrong, as in RFC 9457.", &["type", "title", "status", "detail"], fields).into())
}
