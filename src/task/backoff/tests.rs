use super::*;
use proptest::prelude::*;
use serde_json::json;

const S: fn(u64) -> Duration = Duration::from_secs;

fn exact(backoff: Backoff) -> Backoff {
    Backoff { jitter: Jitter::None, ..backoff }
}

#[test]
fn doubles_up_to_the_hour() {
    let backoff = exact(Backoff::default());
    for (failures, seconds) in
        [(0, 1), (1, 1), (2, 2), (3, 4), (12, 2_048), (13, 3_600), (100, 3_600), (u32::MAX, 3_600)]
    {
        assert_eq!(backoff.delay(failures, 0.5), S(seconds), "{failures}");
    }
}

#[test]
fn full_jitter_is_a_share_of_the_delay() {
    let backoff = Backoff::default();
    assert_eq!(backoff.delay(3, 0.0), Duration::ZERO);
    assert_eq!(backoff.delay(3, 0.25), S(1));
    assert_eq!(backoff.delay(3, 7.0), S(4));
    assert_eq!(backoff.delay(3, f64::NAN), Duration::ZERO);
}

#[test]
fn fixed_is_the_same_every_time() {
    let backoff = Backoff::fixed(S(7_200));
    assert_eq!((backoff.delay(1, 0.1), backoff.delay(u32::MAX, 0.9)), (S(7_200), S(7_200)));
}

#[test]
fn writes_exactly_this() {
    assert_eq!(
        Backoff::default().to_json(),
        r#"{"kind":"exponential","base":"1s","factor":2,"max":"1h","jitter":"full"}"#
    );
    assert_eq!(
        Backoff { factor: 1.5, ..Backoff::fixed(S(90)) }.to_json(),
        r#"{"kind":"fixed","base":"1m30s","factor":1.5,"max":"1m30s","jitter":"none"}"#
    );
}

#[test]
fn every_part_has_a_default() {
    let default = Backoff::default();
    let fixed = Backoff::fixed(S(1));
    for (text, expected) in [
        ("{}", default),
        (r#"{"kind":"exponential"}"#, default),
        (r#"{"base":"5s"}"#, Backoff { base: S(5), ..default }),
        (r#"{"base":2.5,"max":10}"#, Backoff { base: Duration::from_millis(2_500), max: S(10), ..default }),
        (r#"{"factor":1.5,"jitter":"none"}"#, Backoff { factor: 1.5, jitter: Jitter::None, ..default }),
        (r#"{"kind":"fixed"}"#, fixed),
        (r#"{"kind":"fixed","base":"2h"}"#, Backoff::fixed(S(7_200))),
        (r#"{"kind":"fixed","jitter":"full","max":"1m"}"#, Backoff { jitter: Jitter::Full, max: S(60), ..fixed }),
        (r#""30s""#, Backoff::fixed(S(30))),
        ("30", Backoff::fixed(S(30))),
        (r#""0s""#, Backoff::fixed(S(0))),
    ] {
        assert_eq!(Backoff::from_json(text), Ok(expected), "{text}");
    }
}

#[test]
fn names_every_fault_at_once() {
    let faults = Backoff::from_value(&json!({
        "kind": "linear", "base": "soon", "factor": 0.5, "max": false, "jitter": 1, "a/b": 1
    }))
    .expect_err("six faults");
    let pointers: Vec<&str> = faults.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/a~1b", "/kind", "/base", "/factor", "/max", "/jitter"]);
    assert!(faults.iter().all(|(_, detail)| detail.contains("takes ")), "{faults:?}");
}

#[test]
fn refuses_what_contradicts_itself_or_is_something_else() {
    for (text, pointer, said) in [
        (r#"{"base":"2h"}"#, "/base", "takes at most max (1h"),
        (r#"{"max":"500ms"}"#, "/max", "takes at least base (1s)"),
        (r#"{"kind":"fixed","base":"1m","max":"1s"}"#, "/max", "takes at least base (1m)"),
        (r#"{"factor":100.5}"#, "/factor", "takes a number from 1 to 100"),
        (r#"{"factor":"2"}"#, "/factor", "got \"2\""),
        (r#"{"base":"11y"}"#, "/base", "has a unit that is none"),
        ("null", "", "got null"),
        ("[]", "", "got an array"),
        (r#""30""#, "", "has no unit"),
        ("-1", "", "is negative"),
        ("{", "", "is not JSON"),
    ] {
        let faults = Backoff::from_json(text).expect_err(text);
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert!(faults[0].0 == pointer && faults[0].1.contains(said), "{text}: {faults:?}");
    }
}

fn any_duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn any_backoff(base: Duration, max: Duration, factor: f64, fixed: bool, full: bool) -> Backoff {
    Backoff {
        kind: if fixed { Kind::Fixed } else { Kind::Exponential },
        base,
        factor,
        max,
        jitter: if full { Jitter::Full } else { Jitter::None },
    }
}

proptest! {
    #[test]
    fn never_panics_and_never_exceeds_max(
        base in any_duration(), max in any_duration(), factor in any::<f64>(), fixed: bool, full: bool,
        failures: u32, random in any::<f64>(),
    ) {
        let backoff = any_backoff(base, max, factor, fixed, full);
        prop_assert!(backoff.delay(failures, random) <= max);
        let _ = backoff.to_json();
    }

    #[test]
    fn grows_with_failures_and_jitter_only_shortens(
        base in 0_u64..100_000, more in 0_u64..100_000_000, factor in 1.0..100.0_f64, failures in 1_u32..1_000,
        random in 0.0..1.0_f64,
    ) {
        let base = Duration::from_millis(base);
        let plain = any_backoff(base, base + Duration::from_millis(more), factor, false, false);
        let delay = plain.delay(failures, random);
        prop_assert!(delay >= base && delay <= plain.delay(failures + 1, random));
        let shortened = Backoff { jitter: Jitter::Full, ..plain };
        prop_assert!(shortened.delay(failures, random) <= delay);
    }

    #[test]
    fn what_is_written_reads_back(
        base in 0_u64..100_000_000, more in 0_u64..100_000_000, thousandths in 1_000_u32..=100_000,
        fixed: bool, full: bool,
    ) {
        let base = Duration::from_millis(base);
        // More digits than about 15 may move by the last one, as JSON numbers do.
        let factor = f64::from(thousandths) / 1_000.0;
        let backoff = any_backoff(base, base + Duration::from_millis(more), factor, fixed, full);
        prop_assert_eq!(Backoff::from_json(&backoff.to_json()), Ok(backoff));
    }
}
