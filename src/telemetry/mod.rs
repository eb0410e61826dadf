//! What the program tells its operator: logs and metrics. Every word here is the same word
//! as in the code and the routes.

pub mod episode;
pub mod logging;
pub mod metrics;

pub use episode::Episode;
pub use metrics::Metrics;
