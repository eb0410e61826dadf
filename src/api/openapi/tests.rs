//! The specification against the routes, against OpenAPI's own schema, and its examples against its schemas.

use super::super::routes;
use super::openapi_json;
use actix_web::http::Method;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// OpenAPI's schema of its documents, as it is published (spec.openapis.org/oas/3.1/schema, Apache-2.0).
const META: &str = include_str!("openapi-3.1.schema.json");

fn document() -> Value {
    serde_json::from_str(openapi_json()).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().with_draft(Draft::Draft202012).build(schema).unwrap()
}

/// Every operation: its path, its method, itself.
fn operations(document: &Value) -> Vec<(String, String, &Map<String, Value>)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((path.clone(), method.to_uppercase(), operation.as_object().unwrap()));
        }
    }
    found
}

#[test]
fn every_route_and_method_is_specified_and_nothing_else_is() {
    let mut routed = BTreeSet::new();
    for route in routes::listed() {
        for (method, _) in &route.methods {
            routed.insert((route.path.to_owned(), method.to_string()));
        }
        if route.takes_head() {
            routed.insert((route.path.to_owned(), Method::HEAD.to_string()));
        }
    }
    let document = document();
    let specified: BTreeSet<_> = operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    let missing: Vec<_> = routed.difference(&specified).collect();
    let surplus: Vec<_> = specified.difference(&routed).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "not specified: {missing:?}; specified, and no route: {surplus:?}"
    );
}

#[test]
fn the_document_is_valid_by_openapis_own_schema() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let meta = validator(&serde_json::from_str(META).unwrap());
    let faults: Vec<String> =
        meta.iter_errors(&document).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(!meta.is_valid(&json!({"openapi": "3.1.0", "paths": {}})), "it accepts a document without info");
}

#[test]
fn each_operation_says_its_scope_its_tag_and_its_problems() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: its id is another's too");
        assert!(operation["summary"].is_string(), "{at}");
        let tag = &operation["tags"][0];
        assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag), "{at}: {tag}");
        let responses = operation["responses"].as_object().unwrap();
        let route = routes::listed().into_iter().find(|route| route.path == path).unwrap();
        if let Some(routes::Needs::Scope(scope)) = route.needs(&Method::from_bytes(method.as_bytes()).unwrap()) {
            assert_eq!(operation["x-required-scope"], scope.as_str(), "{at}");
            assert_eq!(operation["security"], json!([{"key": [scope.as_str()]}]), "{at}");
            for status in ["401", "403", "404", "429", "500", "503"] {
                assert!(responses.contains_key(status), "{at}: {status}");
            }
        }
        for status in if operation.contains_key("requestBody") { &["400", "413", "415", "422"][..] } else { &[] } {
            assert!(responses.contains_key(*status), "{at}: {status}");
        }
        assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{at}");
    }
}

#[test]
fn each_link_leads_to_an_operation_and_names_its_parameters() {
    let document = document();
    let operations = operations(&document);
    let mut links = 0;
    for (path, method, operation) in &operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let at = format!("{method} {path} {status} {name}");
                let target = operations.iter().find(|(.., other)| other["operationId"] == link["operationId"]);
                let (.., target) = target.unwrap_or_else(|| panic!("{at}: there is no such operation"));
                for parameter in link["parameters"].as_object().unwrap().keys() {
                    let mut known = target["parameters"].as_array().unwrap().iter();
                    assert!(known.any(|known| known["name"] == *parameter), "{at}: {parameter}");
                }
                links += 1;
            }
        }
    }
    assert_eq!(links, super::links::count(), "a way begins at an operation or a status that is not there");
}

#[test]
fn every_body_and_every_answer_has_an_example_that_fits() {
    let document = document();
    let mut all = Vec::new();
    for (path, method, operation) in operations(&document) {
        let body = operation.get("requestBody").into_iter().map(|body| (format!("{method} {path}"), body));
        all.extend(body);
        for (status, answer) in operation["responses"].as_object().unwrap() {
            all.push((format!("{method} {path} {status}"), answer));
        }
    }
    let shared = document["components"]["responses"].as_object().unwrap();
    all.extend(shared.iter().map(|(name, answer)| (name.clone(), answer)));
    let (mut examples, mut problems) = (0, 0);
    for (at, one) in all {
        for (media_type, content) in one["content"].as_object().into_iter().flatten() {
            if media_type == "text/event-stream" {
                continue; // no one event stands for a stream: the guide shows some
            }
            let example = content.get("example").unwrap_or_else(|| panic!("{at}: no example of {media_type}"));
            let mut schema = content["schema"].clone();
            schema["components"] = document["components"].clone();
            let faults: Vec<String> = validator(&schema)
                .iter_errors(example)
                .map(|fault| format!("{}: {fault}", fault.instance_path()))
                .collect();
            assert!(faults.is_empty(), "{at}: {faults:#?}");
            if media_type == "application/problem+json" {
                let status = example["status"].as_u64().unwrap().to_string();
                assert!(!at.contains(' ') || at.ends_with(&status), "{at}: an example of {status}");
                problems += 1;
            }
            examples += 1;
        }
    }
    assert!(examples > 60 && problems > 30, "{examples} examples, {problems} of them of problems");
}
