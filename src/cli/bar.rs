//! Progress bars: on a terminal, and nowhere else.

use std::{
    fs::{File, Metadata},
    io::{self, IsTerminal as _},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the times in a bar go on by themselves.
const TICK: Duration = Duration::from_millis(200);

/// A bar that looks as this template of indicatif's says, with this message to begin with, of a length that is to be set;
/// nothing where standard error is no terminal.
pub(super) fn bar(template: &str, message: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    bar.set_style(style(template));
    bar.set_message(message);
    bar.enable_steady_tick(TICK);
    bar
}

pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How many bytes will be read of this; `None` for a pipe and its like, of which nobody knows.
pub(super) fn length(file: &File) -> io::Result<Option<u64>> {
    Ok(Some(file.metadata()?).filter(Metadata::is_file).map(|metadata| metadata.len()))
}
