//! Every fire of ten years, as another program finds it with another zone database: `ten_years.py`.

use super::{cron, utc};
use chrono::{TimeZone, Utc};

/// A line for each zone and expression: of each year the number of its fires, and their digest.
const FOUND: &str = include_str!("ten_years.txt");
const FIRST: i32 = 2026;

/// FNV-1a, 64 bits.
fn digest(state: u64, instant: i64) -> u64 {
    instant.to_le_bytes().iter().fold(state, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn ten_years_of_changing_clocks_are_as_another_zone_database_has_them() {
    let (mut zones, mut years_compared) = (std::collections::BTreeSet::new(), 0);
    for line in FOUND.lines() {
        let [zone, expression, years] = line.split("; ").collect::<Vec<_>>().try_into().unwrap();
        zones.insert(zone);
        let cron = cron(expression, zone);
        let mut next = cron.next_after(utc("2025-12-31T23:59:59Z"));
        for (year, expected) in (FIRST..).zip(years.split(' ')) {
            let end = Utc.with_ymd_and_hms(year + 1, 1, 1, 0, 0, 0).unwrap();
            let (mut count, mut state) = (0, 0xcbf2_9ce4_8422_2325);
            while let Some(at) = next.filter(|at| *at < end) {
                (count, state) = (count + 1, digest(state, at.timestamp()));
                next = cron.next_after(at);
            }
            let hint = format!("ten_years.py {zone} \"{expression}\" {year} prints what it should be");
            assert_eq!(format!("{count}:{state:016x}"), expected, "{hint}");
            years_compared += 1;
        }
    }
    let all = ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Europe/Berlin"];
    assert_eq!((zones.into_iter().collect::<Vec<_>>(), years_compared), (all.to_vec(), 400));
}
