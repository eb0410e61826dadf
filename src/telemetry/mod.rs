//! What the program tells its operator: logs and metrics. Every word here is the same word
//! as in the code and the routes.

pub mod episode;
pub mod hazard;
pub mod logging;
pub mod metrics;

pub use episode::Episode;
pub use hazard::{Hazard, HazardLog};
pub use metrics::Metrics;
