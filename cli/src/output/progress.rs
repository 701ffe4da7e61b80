//! Progress of long operations: a bar, lines, or JSON on standard error, and the monitor that
//! feeds them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strongroom_core::monitor::{Monitor, Phase, Problem, Progress};

use super::{Console, human};
use crate::interrupt::Interrupt;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One line that is painted over.
    Bar,
    /// One line every ten seconds.
    Plain,
    /// One JSON object a second.
    Json,
    /// Nothing.
    None,
}

impl Style {
    fn interval(self) -> Option<Duration> {
        match self {
            Self::Bar => Some(Duration::from_millis(100)),
            Self::Plain => Some(Duration::from_secs(10)),
            Self::Json => Some(Duration::from_secs(1)),
            Self::None => None,
        }
    }
}

/// The bar that is on the screen now: whoever prints must make room for the line.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Runs `print` with the bar taken away for the moment.
pub fn beside_bar(print: impl FnOnce()) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// The monitor of one operation; [`Reporter::finish`] takes progress off the screen.
pub struct Reporter {
    state: Arc<State>,
    ticker: Mutex<Option<Ticker>>,
}

struct Ticker {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

struct State {
    console: Console,
    interrupt: Interrupt,
    /// As restic names it in errors: archival, restore, check.
    during: &'static str,
    style: Style,
    started: Instant,
    phase: Mutex<Option<Phase>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    files_done: AtomicU64,
    files_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    errors: AtomicU64,
}

impl Reporter {
    /// Starts to show progress.
    pub fn start(console: Console, interrupt: Interrupt, during: &'static str) -> Arc<Self> {
        let style = console.progress_style();
        let state = Arc::new(State {
            console,
            interrupt,
            during,
            style,
            started: Instant::now(),
            phase: Mutex::new(None),
            counters: Counters::default(),
        });
        if style == Style::Bar {
            let bar = ProgressBar::new_spinner();
            let template = ProgressStyle::with_template("{spinner} {wide_msg}");
            bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        }
        let ticker = style.interval().map(|interval| Ticker::start(state.clone(), interval));
        Arc::new(Self { state, ticker: Mutex::new(ticker) })
    }

    /// Takes progress off the screen.
    pub fn finish(&self) {
        let ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Ticker { stop, thread }) = ticker {
            drop(stop);
            // A ticker that panicked has ended the program already.
            let _ = thread.join();
        }
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Ticker {
    fn start(state: Arc<State>, interval: Duration) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                state.show();
            }
        });
        Self { stop, thread }
    }
}

impl Monitor for Reporter {
    fn phase(&self, phase: Phase) {
        *self.state.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
    }

    fn advance(&self, delta: Progress) {
        let counters = &self.state.counters;
        counters.files_done.fetch_add(delta.files_done, Ordering::Relaxed);
        counters.files_total.fetch_add(delta.files_total, Ordering::Relaxed);
        counters.bytes_done.fetch_add(delta.bytes_done, Ordering::Relaxed);
        counters.bytes_total.fetch_add(delta.bytes_total, Ordering::Relaxed);
    }

    fn problem(&self, problem: &Problem) {
        let state = &self.state;
        if problem.is_error {
            state.counters.errors.fetch_add(1, Ordering::Relaxed);
            state.console.item_error(state.during, &problem.item, &problem.message);
        } else {
            state.console.note(&format!("note: {problem}"));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.state.interrupt.is_set()
    }
}

impl State {
    fn show(&self) {
        let status = self.status();
        match self.style {
            Style::None => {}
            Style::Json => super::talk_json(&status),
            Style::Plain => super::talk(&status.line()),
            Style::Bar => {
                if let Some(bar) = &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
                    bar.set_message(status.line());
                    bar.tick();
                }
            }
        }
    }

    fn status(&self) -> Status {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status::new(
            *self.phase.lock().unwrap_or_else(PoisonError::into_inner),
            self.started.elapsed(),
            Progress {
                files_done: read(&counters.files_done),
                files_total: read(&counters.files_total),
                bytes_done: read(&counters.bytes_done),
                bytes_total: read(&counters.bytes_total),
            },
            read(&counters.errors),
        )
    }
}

/// Where an operation is, in the keys that scripts for restic know.
#[derive(Debug, Serialize)]
struct Status {
    message_type: &'static str,
    phase: Option<Phase>,
    seconds_elapsed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<u64>,
    percent_done: f64,
    total_files: u64,
    files_done: u64,
    total_bytes: u64,
    bytes_done: u64,
    bytes_per_second: u64,
    error_count: u64,
}

impl Status {
    fn new(phase: Option<Phase>, elapsed: Duration, progress: Progress, errors: u64) -> Self {
        let seconds = elapsed.as_secs_f64();
        let bytes_per_second =
            if seconds > 0.0 { (progress.bytes_done as f64 / seconds) as u64 } else { 0 };
        let left = progress.bytes_total.saturating_sub(progress.bytes_done);
        let share = |done: u64, total: u64| (done.min(total) as f64) / (total as f64);
        let percent_done = match progress {
            Progress { bytes_total: 1.., .. } => share(progress.bytes_done, progress.bytes_total),
            Progress { files_total: 1.., .. } => share(progress.files_done, progress.files_total),
            _ => 0.0,
        };
        Self {
            message_type: "status",
            phase,
            seconds_elapsed: elapsed.as_secs(),
            seconds_remaining: left.checked_div(bytes_per_second).filter(|_| left > 0),
            percent_done,
            total_files: progress.files_total,
            files_done: progress.files_done,
            total_bytes: progress.bytes_total,
            bytes_done: progress.bytes_done,
            bytes_per_second,
            error_count: errors,
        }
    }

    fn line(&self) -> String {
        let mut line = format!(
            "[{}] {} {:.0}%  {} / {} files  {} / {}  {}/s",
            human::duration(Duration::from_secs(self.seconds_elapsed)),
            phase_name(self.phase),
            self.percent_done * 100.0,
            self.files_done,
            self.total_files,
            human::bytes(self.bytes_done),
            human::bytes(self.total_bytes),
            human::bytes(self.bytes_per_second),
        );
        if let Some(seconds) = self.seconds_remaining {
            line.push_str(&format!("  ETA {}", human::duration(Duration::from_secs(seconds))));
        }
        if self.error_count > 0 {
            line.push_str(&format!("  {}", human::count(self.error_count, "error")));
        }
        line
    }
}

fn phase_name(phase: Option<Phase>) -> &'static str {
    match phase {
        Some(Phase::Opening) | None => "opening",
        Some(Phase::BackingUp) => "saving",
        Some(Phase::Committing) => "committing",
        Some(Phase::Reading) => "reading",
        Some(Phase::Restoring) => "restoring",
        Some(Phase::Finishing) => "finishing",
        Some(Phase::Verifying) => "verifying",
        Some(Phase::Pruning) => "pruning",
        Some(Phase::Repairing) => "repairing",
        Some(_) => "working",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Progress =
        Progress { files_done: 1, files_total: 4, bytes_done: 1 << 20, bytes_total: 2 << 20 };

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let status = Status::new(Some(Phase::BackingUp), Duration::from_secs(2), HALF, 1);
        let expected =
            "[0:02] saving 50%  1 / 4 files  1.0 MiB / 2.0 MiB  512.0 KiB/s  ETA 0:02  1 error";
        assert_eq!(status.line(), expected);
    }

    #[test]
    fn json_has_the_known_keys() {
        let status = Status::new(Some(Phase::BackingUp), Duration::from_secs(2), HALF, 0);
        let json = serde_json::to_value(status).unwrap();
        assert_eq!(json["message_type"], "status");
        assert_eq!(json["percent_done"], 0.5);
        assert_eq!(json["seconds_remaining"], 2);
        assert_eq!(json["phase"], "backing-up");
    }

    #[test]
    fn nothing_known_is_no_division_by_zero() {
        let status = Status::new(None, Duration::ZERO, Progress::default(), 0);
        assert_eq!(status.line(), "[0:00] opening 0%  0 / 0 files  0 B / 0 B  0 B/s");
    }
}
