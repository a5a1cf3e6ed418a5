//! How frames are shown: the arguments that `live` and `demo` share.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use host_console::{Failure, output};

use crate::monitor::live::FrameSink;
use crate::monitor::terminal::TerminalView;
use crate::monitor::view::{StationChannel, ViewPublisher};
use crate::monitor::web::{DEFAULT_ADDRESS, serve};

/// How frames are shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct ViewArgs {
    /// How to show counts [default: page if a browser is available, else terminal, else lines]
    #[arg(long, value_enum, conflicts_with = "json")]
    view: Option<ViewKind>,
    /// Address to serve the page on; from other machines, the page requires the token that is printed
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// Print one JSON object per frame
    #[arg(long)]
    pub json: bool,
}

/// How to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ViewKind {
    /// A page in the browser: image, outlines, counts, sizes, buttons
    Page,
    /// In this terminal: counts, trend, sizes, and keys for the page's buttons
    Terminal,
    /// One line of text per frame
    Lines,
    #[value(skip)]
    Json,
}

impl ViewArgs {
    /// Opens the view of one station. A view on the terminal sets `stop` when the person quits, and restores the
    /// terminal when it is dropped.
    ///
    /// # Errors
    /// [`Failure`] when the page cannot be served, or standard output is not a terminal.
    pub fn open(
        &self,
        port: &str,
        stop: &'static AtomicBool,
    ) -> Result<(FrameSink, Option<TerminalView>), Failure> {
        let kind = self.kind()?;
        let (sink, channel) = kind.sink(port)?;
        Ok((sink, self.start(kind, channel.into_iter().collect(), stop)?))
    }

    /// Opens the view of several stations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_all(
        &self,
        ports: &[String],
        stop: &'static AtomicBool,
    ) -> Result<(Vec<FrameSink>, Option<TerminalView>), Failure> {
        let kind = self.kind()?;
        let opened: Result<Vec<_>, Failure> = ports.iter().map(|port| kind.sink(port)).collect();
        let (sinks, channels): (Vec<_>, Vec<_>) = opened?.into_iter().unzip();
        Ok((sinks, self.start(kind, channels.into_iter().flatten().collect(), stop)?))
    }

    fn kind(&self) -> Result<ViewKind, Failure> {
        let is_watched = std::io::stdout().is_terminal();
        let has_keys =
            std::io::stdin().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let default = match (is_watched, has_browser(), has_keys) {
            _ if self.json => ViewKind::Json,
            (true, true, _) => ViewKind::Page,
            (true, false, true) => ViewKind::Terminal,
            _ => ViewKind::Lines,
        };
        match self.view.unwrap_or(default) {
            ViewKind::Terminal if !is_watched => {
                let next = "omit --view, or use --view lines";
                Err(Failure::usage("standard output is not a terminal", next))
            }
            kind => Ok(kind),
        }
    }

    /// Starts what serves the viewers.
    fn start(
        &self,
        kind: ViewKind,
        channels: Vec<StationChannel>,
        stop: &'static AtomicBool,
    ) -> Result<Option<TerminalView>, Failure> {
        match kind {
            ViewKind::Lines | ViewKind::Json => Ok(None),
            ViewKind::Terminal => TerminalView::start(channels, stop).map(Some),
            ViewKind::Page => {
                let address = serve(self.listen, channels)?;
                output::line(&format!("page: {address}    (Ctrl-C to stop)"))?;
                if has_browser() && std::io::stdout().is_terminal() {
                    // The address is printed above: a machine without a browser loses nothing.
                    let _ = open::that_detached(address.to_string());
                }
                Ok(None)
            }
        }
    }
}

impl ViewKind {
    /// Where the frames of the station on that port go, and the channel for its viewers.
    fn sink(self, port: &str) -> Result<(FrameSink, Option<StationChannel>), Failure> {
        let with_viewers = |sink: fn(Box<ViewPublisher>) -> FrameSink| {
            let (publisher, channel) = ViewPublisher::new()?;
            Ok((sink(Box::new(publisher)), Some(StationChannel { port: port.to_owned(), channel })))
        };
        match self {
            Self::Lines => Ok((FrameSink::Text, None)),
            Self::Json => Ok((FrameSink::Json, None)),
            Self::Page => with_viewers(FrameSink::Web),
            Self::Terminal => with_viewers(FrameSink::Terminal),
        }
    }
}

fn has_browser() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
}
