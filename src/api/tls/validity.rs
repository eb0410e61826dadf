//! When a certificate expires. All that is read of it is one field, at a fixed place (RFC 5280, 4.1):
//!
//! ```text
//! Certificate ─> tbsCertificate ─> [0] version?, serial, signature, issuer, validity ─> notBefore, notAfter
//! ```

use chrono::NaiveDateTime;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity, in seconds since 1970. None: it is not where it should be.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = expect(SEQUENCE, certificate)?;
    let (mut fields, _) = expect(SEQUENCE, certificate)?;
    if fields.first() == Some(&VERSION) {
        (_, fields) = expect(VERSION, fields)?;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = expect(tag, fields)?;
    }
    let (validity, _) = expect(SEQUENCE, fields)?;
    let (_, _, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    time(tag, std::str::from_utf8(end).ok()?)
}

/// `YYMMDDHHMMSSZ`, with years from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<i64> {
    let full = match tag {
        UTC_TIME if text.len() == 13 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ").ok().map(|at| at.and_utc().timestamp())
}

/// The content of an element that must be of this kind, and what follows it.
fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first element in DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match short {
        0x00..=0x7f => (usize::from(short), rest),
        // So many bytes of the length follow; four gigabytes are enough.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(short - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = if content.len() < 0x80 { vec![tag, length[1]] } else { vec![tag, 0x82, length[0], length[1]] };
        [head, content.to_vec()].concat()
    }

    fn certificate(version: bool, tag: u8, end: &str) -> Vec<u8> {
        let version = if version { der(VERSION, &der(INTEGER, &[2])) } else { vec![] };
        let validity = [der(UTC_TIME, b"260101000000Z"), der(tag, end.as_bytes())].concat();
        let parts = [
            version,
            der(INTEGER, &[7; 20]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &[0; 300]),
            der(SEQUENCE, &validity),
            der(SEQUENCE, &[1; 400]),
        ];
        der(SEQUENCE, &[der(SEQUENCE, &parts.concat()), der(SEQUENCE, &[])].concat())
    }

    #[test]
    fn the_end_of_the_validity_is_found_in_both_forms_of_time() {
        for (tag, text, expected) in [
            (UTC_TIME, "300131120000Z", Some(1_896_091_200)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "soon", None),
            (INTEGER, "300131120000Z", None),
        ] {
            assert_eq!(not_after(&certificate(true, tag, text)), expected, "{text}");
            assert_eq!(not_after(&certificate(false, tag, text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_is_no_certificate_has_no_end() {
        let whole = certificate(true, UTC_TIME, "300131120000Z");
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        for wrong in [&b"\x30\x80"[..], b"\x30\x85\x01\x01\x01\x01\x01", &[0xff; 64], &[0x30; 64]] {
            assert_eq!(not_after(wrong), None, "{wrong:?}");
        }
    }
}
