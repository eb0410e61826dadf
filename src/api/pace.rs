//! How often a key may ask: so many requests a second of each process, and as many at once.
//!
//! `governor` keeps one number a key and changes it without a lock; what is left is told in the answers, as
//! draft-ietf-httpapi-ratelimit-headers has it.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// One key's limiter.
#[derive(Debug)]
pub(super) struct Pace {
    limiter: DefaultDirectRateLimiter<StateInformationMiddleware>,
    per_second: NonZeroU32,
}

/// How it stands with a key after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    per_second: u32,
    /// Requests that it may send at once. None: this one was one too many.
    left: Option<u32>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let limiter = RateLimiter::direct(Quota::per_second(per_second)).with_middleware();
        Self { limiter, per_second }
    }

    /// One more request.
    pub(super) fn step(&self) -> Standing {
        let left = self.limiter.check().ok().map(|after| after.remaining_burst_capacity());
        Standing { per_second: self.per_second.get(), left }
    }
}

impl Standing {
    pub(super) fn is_over(self) -> bool {
        self.left.is_none()
    }

    /// Says it in an answer. All of it is there again within a second.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let (quota, left) = (self.per_second, self.left.unwrap_or(0));
        let policy = HeaderValue::try_from(format!("\"key\";q={quota};w=1"));
        let limit = HeaderValue::try_from(format!("\"key\";r={left};t=1"));
        for (name, value) in [(POLICY, policy), (LIMIT, limit)] {
            // Digits are a header's value.
            if let Ok(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_at_once_as_in_a_second_and_then_none() {
        let pace = Pace::new(NonZeroU32::new(3).unwrap());
        let left: Vec<Option<u32>> = (0..4).map(|_| pace.step().left).collect();
        assert_eq!(left, [Some(2), Some(1), Some(0), None]);
        let mut headers = HeaderMap::new();
        Standing { per_second: 3, left: Some(2) }.tell(&mut headers);
        assert_eq!(headers.get("ratelimit-policy").unwrap(), "\"key\";q=3;w=1");
        assert_eq!(headers.get("ratelimit").unwrap(), "\"key\";r=2;t=1");
    }
}
