pub mod config;
pub mod store;
pub mod stream;
pub mod task;
pub mod telemetry;
