//! A bar on standard error while it runs: on a terminal only, so that pipes and logs get none.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Between two strokes: the bar costs the machine that is measured next to nothing.
const STROKE: Duration = Duration::from_millis(200);
const TEMPLATE: &str = "{msg:10} {wide_bar} {human_pos}/{human_len}  {elapsed}";

/// The bar, or nothing.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new(wanted: bool) -> Self {
        let bar = if wanted && std::io::stderr().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5))
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Something begins that has so many parts.
    pub(super) fn begin(&self, what: &'static str, parts: u32) {
        self.bar.set_message(what);
        self.bar.set_length(u64::from(parts));
        self.bar.set_position(0);
    }

    pub(super) fn set(&self, done: usize) {
        self.bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
    }

    /// Shows a counter until the future ends.
    pub(super) async fn follow<T>(&self, counter: &Arc<AtomicU32>, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        if self.bar.is_hidden() {
            return future.await;
        }
        loop {
            tokio::select! {
                result = &mut future => return result,
                () = tokio::time::sleep(STROKE) => self.bar.set_position(u64::from(counter.load(Ordering::Relaxed))),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
