//! stub
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) async fn run(
    _: Args,
    _: Option<std::path::PathBuf>,
    _: crate::executor::Registry,
) -> Result<(), super::Failure> {
    Ok(())
}
