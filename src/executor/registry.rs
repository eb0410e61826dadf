//! The task types there are. Every role shares the binary and its configuration, so the API
//! knows each type: an unknown name is refused at the door.

use super::handler::Typed;
use super::{Context, Handler, Schema, TaskError, builtin};
use crate::task::{Backoff, Way, name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// What a submission that says nothing gets. None: the next wider default (the type's, then
/// the configuration's `defaults`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    pub queue: Option<Arc<str>>,
    pub priority: Option<u8>,
    pub timeout: Option<Duration>,
    pub max_attempts: Option<u32>,
    pub backoff: Option<Backoff>,
}

/// Who runs the tasks of a type.
#[derive(Clone)]
pub enum Runs {
    /// A handler in the worker: a Rust function, a command, a call.
    Here(Arc<dyn Handler>),
    /// A worker outside, which claims them over REST.
    Outside,
}

/// A task type: who runs it, and its defaults.
#[derive(Debug, Clone)]
pub struct TaskType {
    /// Shared by every task of the type.
    pub name: Arc<str>,
    pub runs: Runs,
    pub defaults: Defaults,
    /// What its payloads must fit.
    pub schema: Option<Arc<Schema>>,
    /// Attempts at once, over all workers; None: as many as there are slots.
    pub concurrency: Option<u32>,
}

impl TaskType {
    /// What runs it, in a word: `rust`, `command`, `http` or `pull`.
    #[must_use]
    pub fn executor(&self) -> &'static str {
        match &self.runs {
            Runs::Here(handler) => handler.executor(),
            Runs::Outside => "pull",
        }
    }

    fn way(&self) -> Way {
        match (&self.runs, self.concurrency) {
            (Runs::Outside, _) => Way::Outside,
            (Runs::Here(_), Some(_)) => Way::Held,
            (Runs::Here(_), None) => Way::Stream,
        }
    }
}

type Types = BTreeMap<Arc<str>, Arc<TaskType>>;

/// The task types of this program. Starts with the built-ins. Whoever looks one up keeps what it
/// found, and sees no change of the configuration in it.
///
/// ```
/// use taskrunnerx::{Context, Registry, TaskError};
///
/// #[derive(serde::Deserialize)]
/// struct Add { a: i64, b: i64 }
///
/// async fn add(_context: Context, payload: Add) -> Result<i64, TaskError> {
///     payload.a.checked_add(payload.b).ok_or_else(|| TaskError::permanent("too large"))
/// }
///
/// let mut registry = Registry::new();
/// registry.register("add", add).max_attempts(3);
/// assert!(registry.get("add").is_some() && registry.get("echo").is_some());
/// ```
pub struct Registry {
    types: RwLock<Arc<Types>>,
    version: AtomicU64,
}

impl Clone for Registry {
    fn clone(&self) -> Self {
        Self { types: RwLock::new(self.types()), version: AtomicU64::new(0) }
    }
}

impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Here(_) => "Here",
            Self::Outside => "Outside",
        })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.types().keys()).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

/// The configuration names a task type that this binary does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tasks.{name}: this binary has no such task type; it has {known}")]
pub struct UnknownTaskType {
    pub name: String,
    /// The known names, comma-separated.
    pub known: String,
}

impl Registry {
    /// The built-in types.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Self { types: RwLock::default(), version: AtomicU64::new(0) };
        builtin::add(&mut registry);
        registry
    }

    /// Those there are at this moment.
    fn types(&self) -> Arc<Types> {
        Arc::clone(&self.types.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// For who is still making it: nobody else holds it.
    fn types_mut(&mut self) -> &mut Types {
        Arc::make_mut(self.types.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the types of another one, for everybody who holds this one.
    pub fn replace(&self, other: &Self) {
        let types = other.types();
        *self.types.write().unwrap_or_else(PoisonError::into_inner) = types;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Adds a typed async function; a type of the same name is replaced. The payload is parsed
    /// into `P` (a payload that does not fit is a permanent error), the result written as JSON.
    ///
    /// # Panics
    /// When the name is not one that tasks may have (`[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`): a
    /// mistake in the program, shown by its first start.
    pub fn register<P, R, F, Fut>(&mut self, name: &str, function: F) -> Registered<'_>
    where
        F: Fn(Context, P) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, TaskError>> + Send + 'static,
        P: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
    {
        self.register_handler(name, Typed { function, types: PhantomData })
    }

    /// Adds a handler that reads and writes JSON text itself.
    ///
    /// # Panics
    /// As [`Registry::register`].
    pub fn register_handler(&mut self, name: &str, handler: impl Handler) -> Registered<'_> {
        if let Err(fault) = name::check(name, name::MAX_NAME) {
            #[expect(clippy::panic, reason = "a mistake in the program that registers, at its start")]
            {
                panic!("task type {name:?}: {fault}");
            }
        }
        self.add(name, Runs::Here(Arc::new(handler)))
    }

    /// Adds a type whose tasks a worker outside claims over REST.
    pub(crate) fn register_pull(&mut self, name: &str) -> Registered<'_> {
        self.add(name, Runs::Outside)
    }

    fn add(&mut self, name: &str, runs: Runs) -> Registered<'_> {
        let name: Arc<str> = name.into();
        let made =
            TaskType { name: Arc::clone(&name), runs, defaults: Defaults::default(), schema: None, concurrency: None };
        let slot = self.types_mut().entry(name).insert_entry(Arc::new(made));
        Registered { made: Arc::make_mut(slot.into_mut()) }
    }

    /// The handler of this type, if a worker of this program runs it.
    #[must_use]
    pub fn handler(&self, name: &str) -> Option<Arc<dyn Handler>> {
        match &self.types().get(name)?.runs {
            Runs::Here(handler) => Some(Arc::clone(handler)),
            Runs::Outside => None,
        }
    }

    /// How tasks of this type come to who runs them. Of an unknown type as of any other.
    #[must_use]
    pub fn way(&self, name: &str) -> Way {
        self.types().get(name).map_or(Way::Stream, |found| found.way())
    }

    /// Whether every task goes through a stream without a limit of its own.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.types().values().all(|found| found.way() == Way::Stream)
    }

    /// The types with a limit of their own, and the limits.
    #[must_use]
    pub fn limited(&self) -> Vec<(Arc<str>, u32)> {
        let types = self.types();
        let held = types.values().filter(|found| found.way() == Way::Held);
        held.filter_map(|found| Some((Arc::clone(&found.name), found.concurrency?))).collect()
    }

    /// Rises with every change to the types.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether the tasks of this type are run by workers outside.
    #[must_use]
    pub fn is_outside(&self, name: &str) -> bool {
        self.types().get(name).is_some_and(|found| matches!(found.runs, Runs::Outside))
    }

    /// Whether there is such a type at all.
    #[must_use]
    pub fn has_outside(&self) -> bool {
        self.types().values().any(|found| matches!(found.runs, Runs::Outside))
    }

    /// The type of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<TaskType>> {
        self.types().get(name).cloned()
    }

    /// All types, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<TaskType>> {
        self.types().values().cloned().collect()
    }

    /// The names, for a message.
    #[must_use]
    pub fn known(&self) -> String {
        self.known_to(&|_| true)
    }

    /// The names that somebody may see.
    #[must_use]
    pub fn known_to(&self, sees: &dyn Fn(&str) -> bool) -> String {
        self.types().keys().map(|name| &**name).filter(|name| sees(name)).collect::<Vec<_>>().join(", ")
    }

    /// The metric label for a name: itself, or `other` for a type that is not registered.
    #[must_use]
    pub fn label<'a>(&self, name: &'a str) -> &'a str {
        if self.types().contains_key(name) { name } else { "other" }
    }

    /// Lays what the configuration says of a type over the type's own defaults.
    ///
    /// # Errors
    /// When there is no such type.
    pub fn configure(
        &mut self,
        name: &str,
        over: Defaults,
        schema: Option<Arc<Schema>>,
        concurrency: Option<u32>,
    ) -> Result<(), UnknownTaskType> {
        let known = self.known();
        let Some(found) = self.types_mut().get_mut(name) else {
            return Err(UnknownTaskType { name: name.to_owned(), known });
        };
        let found = Arc::make_mut(found);
        found.schema = schema.or(found.schema.take());
        found.concurrency = concurrency.or(found.concurrency);
        let own = &mut found.defaults;
        let Defaults { queue, priority, timeout, max_attempts, backoff } = over;
        own.queue = queue.or(own.queue.take());
        own.priority = priority.or(own.priority);
        own.timeout = timeout.or(own.timeout);
        own.max_attempts = max_attempts.or(own.max_attempts);
        own.backoff = backoff.or(own.backoff);
        Ok(())
    }
}

/// Sets defaults of a type that was just registered.
#[derive(Debug)]
pub struct Registered<'a> {
    made: &'a mut TaskType,
}

impl Registered<'_> {
    /// The queue of submissions that name none.
    pub fn queue(self, queue: &str) -> Self {
        self.made.defaults.queue = Some(queue.into());
        self
    }

    /// The runtime limit of one attempt.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.made.defaults.timeout = Some(timeout);
        self
    }

    /// How many attempts, the first included.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        self.made.defaults.max_attempts = Some(max_attempts.max(1));
        self
    }

    /// The wait between attempts.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.made.defaults.backoff = Some(backoff);
        self
    }

    /// Attempts at once, over all workers.
    pub fn concurrency(self, attempts: u32) -> Self {
        self.made.concurrency = Some(attempts.max(1));
        self
    }

    /// What payloads must fit: checked at submission.
    pub fn schema(self, schema: Schema) -> Self {
        self.made.schema = Some(Arc::new(schema));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_lies_over_the_types_own_defaults() {
        let mut registry = Registry::new();
        registry.register("add", async |_: Context, (a, b): (i64, i64)| Ok(a + b)).max_attempts(3).queue("math");
        registry.configure("add", Defaults { max_attempts: Some(9), ..Defaults::default() }, None, None).unwrap();
        let defaults = registry.get("add").unwrap().defaults.clone();
        assert_eq!((defaults.max_attempts, defaults.queue.as_deref()), (Some(9), Some("math")));
        let error = registry.configure("ad", Defaults::default(), None, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tasks.ad: this binary has no such task type; it has add, echo, fail, heartbeat, noop, sleep"
        );
        assert_eq!((registry.label("add"), registry.label("ad")), ("add", "other"));
    }
}
