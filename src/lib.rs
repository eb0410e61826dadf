pub mod config;
pub mod executor;
pub mod lifecycle;
pub mod store;
pub mod stream;
pub mod task;
pub mod telemetry;
