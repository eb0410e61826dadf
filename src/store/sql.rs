//! SQL that a person can read and that stays prepared.
//!
//! Diesel's own multi-row inserts, `eq_any` and updates are prepared anew at every call. A
//! [`Statement`] is a text with `?` marks and its values, and is cached on the connection
//! under its text. So texts must come from a small, constant set: a batch of rows is split
//! into powers of two ([`split`]), a list of ids is padded up to one ([`padded`]), and the
//! text for each size is made once ([`Texts`]).

use chrono::NaiveDateTime;
use diesel::QueryResult;
use diesel::mysql::Mysql;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Datetime, Double, Nullable, Text, Unsigned};
use std::marker::PhantomData;
use std::sync::OnceLock;
use uuid::Uuid;

/// Most rows in one statement. 20 values a row stay far under the protocol's 65,535.
pub(super) const MAX_ROWS: usize = 256;
/// The powers of two up to [`MAX_ROWS`].
pub(super) const SIZES: usize = 9;

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bind<'a> {
    Id(Uuid),
    OptId(Option<Uuid>),
    Bytes(&'a [u8]),
    OptBytes(Option<&'a [u8]>),
    Text(&'a str),
    OptText(Option<&'a str>),
    Number(u64),
    OptNumber(Option<u64>),
    Signed(i64),
    OptSigned(Option<i64>),
    Fraction(f64),
    Time(NaiveDateTime),
    OptTime(Option<NaiveDateTime>),
}

/// A text with `?` marks, and a value for each. `R` is the SQL type of the rows it returns.
#[derive(Debug)]
pub(super) struct Statement<'a, R = ()> {
    text: &'a str,
    binds: Vec<Bind<'a>>,
    rows: PhantomData<R>,
}

/// A statement that returns no rows.
pub(super) fn statement<'a>(text: &'a str, binds: Vec<Bind<'a>>) -> Statement<'a> {
    Statement { text, binds, rows: PhantomData }
}

/// A statement that returns rows of the SQL type `R`, a tuple.
pub(super) fn select<'a, R>(text: &'a str, binds: Vec<Bind<'a>>) -> Statement<'a, R> {
    Statement { text, binds, rows: PhantomData }
}

impl<R> QueryFragment<Mysql> for Statement<'_, R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Mysql>) -> QueryResult<()> {
        let mut pieces = self.text.split('?');
        out.push_sql(pieces.next().unwrap_or_default());
        for (piece, bind) in pieces.zip(&self.binds) {
            match bind {
                Bind::Id(v) => out.push_bind_param::<Binary, [u8; 16]>(v.as_bytes())?,
                Bind::OptId(Some(v)) => out.push_bind_param::<Binary, [u8; 16]>(v.as_bytes())?,
                Bind::OptId(None) => out.push_bind_param::<Nullable<Binary>, Option<[u8; 16]>>(&None)?,
                Bind::Bytes(v) => out.push_bind_param::<Binary, [u8]>(v)?,
                Bind::OptBytes(v) => out.push_bind_param::<Nullable<Binary>, Option<&[u8]>>(v)?,
                Bind::Text(v) => out.push_bind_param::<Text, str>(v)?,
                Bind::OptText(v) => out.push_bind_param::<Nullable<Text>, Option<&str>>(v)?,
                Bind::Number(v) => out.push_bind_param::<Unsigned<BigInt>, u64>(v)?,
                Bind::OptNumber(v) => out.push_bind_param::<Nullable<Unsigned<BigInt>>, Option<u64>>(v)?,
                Bind::Signed(v) => out.push_bind_param::<BigInt, i64>(v)?,
                Bind::OptSigned(v) => out.push_bind_param::<Nullable<BigInt>, Option<i64>>(v)?,
                Bind::Fraction(v) => out.push_bind_param::<Double, f64>(v)?,
                Bind::Time(v) => out.push_bind_param::<Datetime, NaiveDateTime>(v)?,
                Bind::OptTime(v) => out.push_bind_param::<Nullable<Datetime>, Option<NaiveDateTime>>(v)?,
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl<R: 'static> QueryId for Statement<'_, R> {
    type QueryId = ();
    /// Cached by its text, not by its type.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<R> Query for Statement<'_, R> {
    type SqlType = R;
}

/// The texts of one statement for each batch size, made at first use.
pub(super) struct Texts {
    make: fn(usize) -> String,
    sizes: [OnceLock<String>; SIZES],
}

impl Texts {
    /// `make` writes the text for a number of rows.
    pub(super) const fn new(make: fn(usize) -> String) -> Self {
        Self { make, sizes: [const { OnceLock::new() }; SIZES] }
    }

    /// The text for the smallest power of two that holds `rows` (at most [`MAX_ROWS`]).
    pub(super) fn of(&self, rows: usize) -> &str {
        let size = rows.clamp(1, MAX_ROWS).next_power_of_two();
        let slot = usize::try_from(size.trailing_zeros()).unwrap_or(0);
        match self.sizes.get(slot) {
            Some(text) => text.get_or_init(|| (self.make)(size)),
            None => "", // unreachable: `slot` is below SIZES by the clamp
        }
    }
}

/// `n` marks: `?,?,?`.
pub(super) fn marks(n: usize) -> String {
    vec!["?"; n].join(",")
}

/// Repeats the last item until the length is a power of two, so that an IN list of any
/// length uses one of a few texts. A repeated id changes nothing.
pub(super) fn padded<T: Clone>(items: &[T]) -> Vec<T> {
    let mut all = items.to_vec();
    if let Some(last) = items.last() {
        all.resize(items.len().next_power_of_two(), last.clone());
    }
    all
}

/// Splits a batch into slices whose lengths are powers of two, largest first, at most [`MAX_ROWS`].
pub(super) fn split<T>(mut items: &[T]) -> Vec<&[T]> {
    let mut slices = Vec::new();
    while !items.is_empty() {
        let size = (1 << items.len().ilog2()).min(MAX_ROWS);
        let (head, tail) = items.split_at(size);
        slices.push(head);
        items = tail;
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_split_into_powers_of_two() {
        let sizes = |n: usize| split(&vec![0; n]).iter().map(|s| s.len()).collect::<Vec<_>>();
        assert_eq!(sizes(0), Vec::<usize>::new());
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(7), [4, 2, 1]);
        assert_eq!(sizes(600), [256, 256, 64, 16, 8]);
    }

    #[test]
    fn lists_are_padded_with_their_last_item() {
        assert_eq!(padded(&[1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded(&[7]), [7]);
        assert!(padded::<u8>(&[]).is_empty());
    }

    #[test]
    fn a_text_is_made_for_the_next_power_of_two() {
        static TEXTS: Texts = Texts::new(marks);
        assert_eq!(TEXTS.of(3), "?,?,?,?");
        assert_eq!(TEXTS.of(MAX_ROWS).len(), 2 * MAX_ROWS - 1);
        assert_eq!(TEXTS.of(10 * MAX_ROWS).len(), 2 * MAX_ROWS - 1);
    }
}
