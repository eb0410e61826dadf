//! Who asks, and what that one may do and see: the one place where it is decided.
//!
//! A key has scopes, and may be restricted to queues, to task types, or to both. What is outside of a restriction is
//! not there for whoever reads, and is refused to whoever names it in what is to be done.

use super::problem::Problem;
use super::workers::EVERY;
use crate::store::api_keys::Hash;
use crate::store::tasks::Filter;
use crate::task::{Fault, KeyId, Scope};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use std::future::{Ready, ready};
use std::sync::Arc;

/// What a key may do. The default is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// None: all of them, `work` included.
    pub(super) scopes: Option<Vec<Scope>>,
    /// None: every queue.
    pub(super) queues: Option<Vec<String>>,
    /// Task types. None: every one.
    pub(super) names: Option<Vec<String>>,
}

/// Which kind of caller that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// With the key of the configuration.
    Bootstrap,
    /// From this machine, where there is no key at all.
    Local,
    /// With a key of the database.
    Key(KeyId),
}

/// Who asks. A handler takes it as an argument. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Caller(Arc<Who>, Option<Hash>);

#[derive(Debug)]
struct Who {
    actor: String,
    identity: String,
    kind: Kind,
    rights: Rights,
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // There behind `Access::check`; whoever came another way is nobody.
        ready(request.extensions().get().cloned().ok_or_else(|| Problem::unauthorized("nobody asks")))
    }
}

/// Whether a restriction lets this one through.
fn within(allowed: Option<&Vec<String>>, one: &str) -> bool {
    allowed.is_none_or(|allowed| allowed.iter().any(|name| name == one))
}

/// Leaves of what is asked for what is allowed; nothing asked for means everything. False: there is nothing left.
fn narrow(allowed: Option<&Vec<String>>, asked: &mut Vec<String>) -> bool {
    let Some(allowed) = allowed else { return true };
    if asked.is_empty() {
        asked.clone_from(allowed);
    } else {
        asked.retain(|one| allowed.contains(one));
    }
    !asked.is_empty()
}

impl Caller {
    pub(super) fn new(actor: impl Into<String>, kind: Kind, rights: Rights) -> Self {
        let identity = match kind {
            Kind::Bootstrap => "key".to_owned(),
            Kind::Local => "local".to_owned(),
            Kind::Key(id) => id.to_string(),
        };
        Self(Arc::new(Who { actor: actor.into(), identity, kind, rights }), None)
    }

    /// The same, let in by the secret of this hash.
    pub(super) fn by(&self, secret: Hash) -> Self {
        Self(Arc::clone(&self.0), Some(secret))
    }

    /// The hash of the secret that let this one in, where it is one of the database.
    pub(super) fn secret(&self) -> Option<&Hash> {
        self.1.as_ref()
    }

    /// Who that is, for what is kept of who did what.
    pub(super) fn actor(&self) -> &str {
        &self.0.actor
    }

    /// The same for what belongs to this one alone: names of keys need not differ. A rotation does not change it.
    pub(super) fn identity(&self) -> &str {
        &self.0.identity
    }

    pub(super) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether there is anything that this caller must not see.
    pub(super) fn is_restricted(&self) -> bool {
        self.0.rights.queues.is_some() || self.0.rights.names.is_some()
    }

    /// 403 without this scope.
    pub(super) fn needs(&self, scope: Scope) -> Result<(), Problem> {
        let Some(scopes) = &self.0.rights.scopes else { return Ok(()) };
        if scopes.iter().any(|own| own.includes(scope)) {
            return Ok(());
        }
        let own: Vec<&str> = scopes.iter().map(|own| own.as_str()).collect();
        let own = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
        Err(Problem::new(StatusCode::FORBIDDEN, format!("this needs a key of the scope {scope}; this one has {own}")))
    }

    /// Whether a task of this queue and type is there for this caller.
    pub(super) fn sees(&self, queue: &str, name: &str) -> bool {
        self.sees_queue(queue) && self.sees_name(name)
    }

    /// Whether a queue is.
    pub(super) fn sees_queue(&self, queue: &str) -> bool {
        within(self.0.rights.queues.as_ref(), queue)
    }

    /// Whether a worker is that serves these queues.
    pub(super) fn sees_worker(&self, queues: &[String]) -> bool {
        self.0.rights.queues.is_none() || queues.iter().any(|queue| queue == EVERY || self.sees_queue(queue))
    }

    /// Whether a task type is.
    pub(super) fn sees_name(&self, name: &str) -> bool {
        within(self.0.rights.names.as_ref(), name)
    }

    /// The task types that this caller may claim. None: every one.
    pub(super) fn names(&self) -> Option<&[String]> {
        self.0.rights.names.as_deref()
    }

    /// Leaves of a listing what this caller may see. False: nothing is left.
    #[must_use]
    pub(super) fn narrow(&self, filter: &mut Filter) -> bool {
        self.narrow_to(&mut filter.queues, &mut filter.names)
    }

    /// The same, of queues and task types that are asked for; none of them means all.
    #[must_use]
    pub(super) fn narrow_to(&self, queues: &mut Vec<String>, names: &mut Vec<String>) -> bool {
        let some_queue = narrow(self.0.rights.queues.as_ref(), queues);
        let some_name = narrow(self.0.rights.names.as_ref(), names);
        some_queue && some_name
    }

    /// What of a submission is outside of the restriction; `pointer` says where it stands.
    pub(super) fn outside(&self, queue: &str, name: &str, pointer: &str) -> Vec<Fault> {
        let name = self.outside_name(name, &format!("{pointer}/name"));
        name.into_iter().chain(self.outside_queue(queue, &format!("{pointer}/queue"))).collect()
    }

    /// The same of a task type that stands at `pointer`.
    pub(super) fn outside_name(&self, name: &str, pointer: &str) -> Option<Fault> {
        let takes = listed(self.0.rights.names.as_ref());
        (!self.sees_name(name)).then(|| Fault::at(pointer, format!("got {name}; this key may use {takes}")))
    }

    /// The same of a queue that stands at `pointer`.
    pub(super) fn outside_queue(&self, queue: &str, pointer: &str) -> Option<Fault> {
        let takes = listed(self.0.rights.queues.as_ref());
        (!self.sees_queue(queue)).then(|| Fault::at(pointer, format!("got {queue}; this key may use {takes}")))
    }

    /// 403 where a queue as a whole is not this caller's: tasks of other types are in it too.
    pub(super) fn owns_queue(&self, queue: &str) -> Result<(), Problem> {
        if let Some(fault) = self.outside_queue(queue, "") {
            return Err(Problem::new(StatusCode::FORBIDDEN, format!("the queue: {}", fault.detail)));
        }
        if self.0.rights.names.is_some() {
            let detail = "this key is restricted to task types, and a queue is for all of them";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(())
    }
}

fn listed(allowed: Option<&Vec<String>>) -> String {
    allowed.map_or_else(String::new, |allowed| allowed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|one| (*one).to_owned()).collect())
    }

    fn caller(scopes: Option<Vec<Scope>>, queues: Option<Vec<String>>, names: Option<Vec<String>>) -> Caller {
        Caller::new("test", Kind::Bootstrap, Rights { scopes, queues, names })
    }

    #[test]
    fn what_is_outside_of_either_restriction_is_not_there() {
        let both = caller(None, some(&["mail"]), some(&["send", "bounce"]));
        assert!(both.is_restricted() && both.sees("mail", "send") && both.sees("mail", "bounce"));
        for (queue, name) in [("mail", "other"), ("other", "send"), ("other", "other"), ("", ""), ("Mail", "send")] {
            assert!(!both.sees(queue, name), "{queue} {name}");
        }
        let queue = caller(None, some(&["mail"]), None);
        assert!(queue.sees("mail", "anything") && !queue.sees("other", "anything"));
        let everything = caller(None, None, None);
        assert!(!everything.is_restricted() && everything.sees("any", "thing"));
        // A list that could not be read.
        assert!(!caller(None, some(&[]), None).sees("mail", "send"));
    }

    #[test]
    fn a_worker_is_seen_by_whoever_sees_a_queue_of_it() {
        let serves = |queues: &[&str]| some(queues).unwrap();
        let key = caller(None, some(&["a"]), None);
        assert!(key.sees_worker(&serves(&["b", "a"])) && key.sees_worker(&serves(&["*"])));
        assert!(!key.sees_worker(&serves(&["b"])) && !key.sees_worker(&[]));
        assert!(caller(None, None, some(&["x"])).sees_worker(&[]));
    }

    #[test]
    fn a_listing_is_narrowed_to_what_is_allowed_and_never_widened() {
        let key = caller(None, some(&["a", "b"]), some(&["x"]));
        let asked = |queues: &[&str], names: &[&str]| {
            let mut filter = Filter { queues: some(queues).unwrap(), names: some(names).unwrap(), ..Filter::default() };
            let left = key.narrow(&mut filter);
            (left, filter.queues.join(","), filter.names.join(","))
        };
        assert_eq!(asked(&[], &[]), (true, "a,b".to_owned(), "x".to_owned()));
        assert_eq!(asked(&["b", "c"], &["x", "y"]), (true, "b".to_owned(), "x".to_owned()));
        // Nothing left is not "all".
        assert!(!asked(&["c"], &[]).0);
        assert!(!asked(&[], &["y"]).0);
        let (mut queues, mut names) = (vec!["q".to_owned()], Vec::new());
        assert!(caller(None, None, None).narrow_to(&mut queues, &mut names));
        assert_eq!((queues.len(), names.len()), (1, 0));
    }

    #[test]
    fn a_scope_that_is_missing_is_named_with_those_that_are_there() {
        let key = caller(Some(vec![Scope::Read, Scope::Work]), None, None);
        assert!(key.needs(Scope::Read).is_ok() && key.needs(Scope::Work).is_ok());
        let refused = key.needs(Scope::Operate).unwrap_err().to_string();
        assert!(refused.contains("scope operate") && refused.contains("has read, work"), "{refused}");
        assert!(caller(Some(vec![Scope::Admin]), None, None).needs(Scope::Work).is_err());
        assert!(caller(Some(Vec::new()), None, None).needs(Scope::Read).is_err());
        assert!(Scope::ALL.into_iter().all(|scope| caller(None, None, None).needs(scope).is_ok()));
    }

    #[test]
    fn each_part_that_is_outside_is_said_with_its_place() {
        let key = caller(None, some(&["a"]), some(&["x"]));
        let pointers = |queue, name| -> Vec<String> {
            key.outside(queue, name, "/tasks/3").into_iter().map(|fault| fault.pointer).collect()
        };
        assert!(pointers("a", "x").is_empty());
        assert_eq!(pointers("b", "y"), ["#/tasks/3/name", "#/tasks/3/queue"]);
        assert!(key.owns_queue("a").is_err() && key.owns_queue("b").is_err());
        let queue = caller(None, some(&["a"]), None);
        assert!(queue.owns_queue("a").is_ok() && queue.owns_queue("b").is_err());
    }
}
