//! What the tests ask of stateright, and the one thing that it does not answer.

use stateright::{Checker, HasDiscoveries, Model};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;

/// More steps than any counterexample has.
const DEEPEST: usize = 40;

/// Every two of so many kinds of mishap, each also twice.
pub(crate) fn pairs(kinds: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..kinds).flat_map(move |a| (a..kinds).map(move |b| [a, b]))
}

/// Every three of them.
pub(crate) fn triples(kinds: usize) -> impl Iterator<Item = [usize; 3]> {
    pairs(kinds).flat_map(move |[a, b]| (b..kinds).map(move |c| [a, b, c]))
}

/// The shortest way to a state in which a property does not hold.
///
/// A breadth-first checker goes on for a while after it has found one, and keeps the last. So it
/// is told how deep it may go, one step further each time.
pub(crate) fn shortest<M>(model: M, property: &'static str) -> Vec<M::Action>
where
    M: Model + Copy + Debug + Send + Sync + 'static,
    M::State: Clone + PartialEq + Hash + Send + Sync + Debug + 'static,
    M::Action: Clone + PartialEq + Debug + Send + Sync,
{
    let found = (2..=DEEPEST).find_map(|depth| {
        let wanted = HasDiscoveries::AllOf(BTreeSet::from([property]));
        let checker = model.checker().target_max_depth(depth).finish_when(wanted).spawn_bfs().join();
        checker.discovery(property).map(|path| path.into_actions())
    });
    found.unwrap_or_else(|| panic!("{model:?}: nothing breaks {property:?}"))
}

/// No sequence of these steps leads back to where it began.
///
/// Depth first, with the states that are being visited apart from those that are done: a step
/// into the former closes a cycle.
pub(crate) fn assert_acyclic<M>(model: &M, counts: impl Fn(&M::Action) -> bool)
where
    M: Model,
    M::State: Clone + Eq + Hash + Debug,
    M::Action: Clone + Debug,
{
    let steps = |state: &M::State| {
        let mut actions = Vec::new();
        model.actions(state, &mut actions);
        actions.retain(&counts);
        actions
    };
    let mut done: HashMap<M::State, bool> = HashMap::new();
    let mut stack: Vec<(M::State, Vec<M::Action>)> = Vec::new();
    for start in model.init_states() {
        done.insert(start.clone(), false);
        stack.push((start.clone(), steps(&start)));
    }
    while let Some((state, left)) = stack.last_mut() {
        let Some(action) = left.pop() else {
            done.insert(state.clone(), true);
            stack.pop();
            continue;
        };
        let Some(after) = model.next_state(state, action.clone()) else { continue };
        match done.get(&after) {
            Some(true) => {}
            Some(false) => panic!("{action:?} leads back from {state:?} to {after:?}"),
            None => {
                done.insert(after.clone(), false);
                let further = steps(&after);
                stack.push((after, further));
            }
        }
    }
}
