//! With every guard in place nothing breaks, in the whole space.

use super::action::Action;
use super::config::{Budget, Protocol};
use super::explore::{assert_acyclic, pairs, triples};
use stateright::{Checker, Model};
use std::time::Instant;

/// Kinds of mishap in a [`Budget`].
const KINDS: usize = 10;
const NAMES: [&str; KINDS] =
    ["crash", "pause", "lost entry", "duplicate", "wipe", "lost answer", "hasty sweep", "cancel", "drain", "takeover"];

/// The budget in which these kinds happen, each as often as it is named.
fn budget(kinds: &[usize]) -> Budget {
    let times = |kind: usize| kinds.iter().filter(|k| **k == kind).count() as u8;
    Budget {
        crashes: times(0),
        pauses: times(1),
        lost_entries: times(2),
        duplicates: times(3),
        wipes: times(4),
        lost_answers: times(5),
        hasty_sweeps: times(6),
        cancels: times(7),
        drains: times(8),
        takeovers: times(9),
    }
}

/// Checks every property in every state; says how many there are.
fn exhaust(protocol: Protocol, kinds: &[usize]) -> usize {
    let protocol = Protocol { budget: budget(kinds), ..protocol };
    let began = Instant::now();
    let checked = protocol.checker().spawn_dfs().join();
    checked.assert_properties();
    let names: Vec<_> = kinds.iter().map(|kind| NAMES[*kind]).collect();
    let (states, steps) = (checked.unique_state_count(), checked.state_count());
    let (tasks, slots) = (protocol.tasks, protocol.slots);
    eprintln!("{tasks} tasks, {slots} slots, {names:?}: {states} states, {steps} steps, {:.1?}", began.elapsed());
    states
}

const ONE: Protocol = Protocol::new(1, Budget::CALM);
const TWO: Protocol = Protocol::new(2, Budget::CALM);

#[test]
fn one_task_survives_every_two_mishaps() {
    let mut states: usize = pairs(KINDS).map(|pair| exhaust(ONE, &pair)).sum();
    // A claim and a release whose answers are lost, and a second entry beside them.
    states += exhaust(ONE, &[5, 5, 3]);
    eprintln!("one task, two mishaps: {states} states");
    assert!(states > 120_000, "{states}: the space was cut");
}

#[test]
fn two_tasks_survive_every_mishap() {
    let states: usize = exhaust(TWO, &[]) + (0..KINDS).map(|kind| exhaust(TWO, &[kind])).sum::<usize>();
    eprintln!("two tasks, one mishap: {states} states");
    assert!(states > 155_000, "{states}: the space was cut");
}

/// Three mishaps for one task, two for two, and workers with two slots:
/// `cargo test --test model -- --ignored --nocapture`.
#[test]
#[ignore = "takes two minutes"]
fn more_mishaps() {
    let mut states: usize = triples(KINDS).map(|kinds| exhaust(ONE, &kinds)).sum();
    for kind in 0..KINDS {
        states += exhaust(Protocol { slots: 2, ..TWO }, &[kind]);
    }
    for [a, b] in [[5, 3], [5, 6], [5, 7], [5, 8], [2, 3], [7, 8], [0, 2], [1, 2], [0, 7], [1, 7]] {
        states += exhaust(TWO, &[a, b]);
    }
    eprintln!("more mishaps: {states} states");
    assert!(states > 3_600_000, "{states}: the space was cut");
}

/// The properties about the end of tasks rest on this; see the head of `main.rs`.
#[test]
fn no_step_leads_back() {
    let forward = |action: &Action| !matches!(action, Action::Drop { .. });
    for kind in 0..KINDS {
        assert_acyclic(&Protocol { budget: budget(&[kind]), ..TWO }, forward);
    }
    // Mishaps are counted, so a cycle has none in it: they only lead to more states.
    for pair in [[0, 5], [1, 5], [1, 3], [0, 1]] {
        assert_acyclic(&Protocol { budget: budget(&pair), ..ONE }, forward);
    }
}
