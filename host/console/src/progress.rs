//! Progress bars with remaining time, on a terminal only, for work that takes longer than two seconds.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Failure;
use crate::output;

/// Shorter work needs no bar.
const PATIENCE: Duration = Duration::from_secs(2);

/// A progress bar on standard error that appears when the work takes long.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// A bar of `total` steps named by `what`.
    pub fn new(what: &str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:32} {pos}/{len}, {eta} left") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        Self { bar, start: Instant::now() }
    }

    /// A bar of `total` bytes sent over a line.
    pub fn of_bytes(what: &str, total: u64) -> Self {
        let progress = Self::new(what, total);
        let template =
            "{msg} {bar:32} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            progress.bar.set_style(style);
        }
        progress
    }

    /// `steps` more are done.
    pub fn advance(&self, steps: u64) {
        self.show_in_time();
        self.bar.inc(steps);
    }

    /// `steps` are done in total, which may be fewer than before.
    pub fn reach(&self, steps: u64) {
        self.show_in_time();
        self.bar.set_position(steps);
    }

    fn show_in_time(&self) {
        if self.bar.is_hidden() && self.start.elapsed() > PATIENCE && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Prints a line of the command's output above the bar.
    ///
    /// # Errors
    /// [`Failure`], a normal end where the reader closed the pipe.
    pub fn print(&self, line: &str) -> Result<(), Failure> {
        self.bar.suspend(|| output::line(line))
    }

    /// Prints a line above the bar.
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| output::warn(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
