//! A task's life as a state machine: random moves by everybody (submissions, dispatchers that
//! die, workers that claim what is not theirs and say what they said before, rescues, cancels,
//! flushes) against the real database and Redis, beside a model in plain memory. After each
//! move every row and every answer is the model's, and in the end everything comes to rest.
//!
//! `PROPTEST_CASES` sets the number of plays. What fails is printed as the shortest sequence of
//! moves that does. Its seed is kept under `target/`, so that the next run begins with it, and
//! not in the repository: it means nothing to moves that have changed since. What is found here
//! becomes a test of its own in `guards`.

mod model;
mod moves;
mod system;
mod task;

use model::Model;
use moves::Move;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use system::System;

/// Plays, unless `PROPTEST_CASES` says otherwise.
const PLAYS: u32 = 24;
/// Plays to find the shortest that fails, and the milliseconds that this may take.
const SHRINKS: u32 = 4000;
const SHRINK_MS: u32 = 90_000;

fn config() -> Config {
    let config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("target/machine.regressions"))),
        max_shrink_iters: SHRINKS,
        max_shrink_time: SHRINK_MS,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases: PLAYS, ..config } }
}

struct Life;

impl StateMachineTest for Life {
    type SystemUnderTest = System;
    type Reference = Model;

    fn init_test(model: &Model) -> System {
        System::begin(model)
    }

    fn apply(mut system: System, model: &Model, a_move: Move) -> System {
        let answer = system.make(model, &a_move);
        assert_eq!(answer, model.answer, "the answer to {a_move:?}");
        system.matches(model, &a_move);
        system
    }

    fn teardown(system: System, _: Model) {
        system.comes_to_rest();
    }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn whatever_comes_rows_and_answers_are_the_models_and_everything_ends(sequential 20..80 => Life);
}
