//! How frames are shown: the arguments of the commands that watch.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use host_console::{Failure, output};

use crate::monitor::live::Show;
use crate::monitor::terminal::Terminal;
use crate::monitor::web::{DEFAULT_ADDRESS, Panel, StationSeat, serve};

/// How frames are shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct ViewArgs {
    /// How to watch [default: a page where a browser can be opened, else on the terminal, else lines]
    #[arg(long, value_enum, conflicts_with = "json")]
    view: Option<View>,
    /// Where the page is served; beyond this machine it asks for the token that is printed
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_ADDRESS)]
    listen: SocketAddr,
    /// Print one JSON object a frame
    #[arg(long)]
    pub json: bool,
}

/// How to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum View {
    /// A page in the browser: picture, outlines, counts, sizes, buttons
    Page,
    /// On this terminal: counts, trend, sizes, keys for what the page's buttons do
    Terminal,
    /// A line a frame
    Lines,
    #[value(skip)]
    Json,
}

impl ViewArgs {
    /// Opens the view of one station. On a terminal `stop` is set when the person wants no more; the terminal is as
    /// before when it is dropped.
    ///
    /// # Errors
    /// [`Failure`] when no page can be served, or this is no terminal.
    pub fn open(&self, port: &str, stop: &'static AtomicBool) -> Result<(Show, Option<Terminal>), Failure> {
        let view = self.view()?;
        let (show, seat) = view.show(port)?;
        Ok((show, self.present(view, seat.into_iter().collect(), stop)?))
    }

    /// Opens the view of several stations.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_all(
        &self,
        ports: &[String],
        stop: &'static AtomicBool,
    ) -> Result<(Vec<Show>, Option<Terminal>), Failure> {
        let view = self.view()?;
        let shows: Result<Vec<_>, Failure> = ports.iter().map(|port| view.show(port)).collect();
        let (shows, seats): (Vec<_>, Vec<_>) = shows?.into_iter().unzip();
        Ok((shows, self.present(view, seats.into_iter().flatten().collect(), stop)?))
    }

    fn view(&self) -> Result<View, Failure> {
        let is_watched = std::io::stdout().is_terminal();
        let has_keys =
            std::io::stdin().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let view = match (is_watched, has_browser(), has_keys) {
            _ if self.json => View::Json,
            (true, true, _) => View::Page,
            (true, false, true) => View::Terminal,
            _ => View::Lines,
        };
        match self.view.unwrap_or(view) {
            View::Terminal if !is_watched => {
                let next = "leave --view out, or use --view lines";
                Err(Failure::usage("standard output is no terminal to draw on", next))
            }
            view => Ok(view),
        }
    }

    /// Lets people sit down on those seats.
    fn present(
        &self,
        view: View,
        seats: Vec<StationSeat>,
        stop: &'static AtomicBool,
    ) -> Result<Option<Terminal>, Failure> {
        match view {
            View::Lines | View::Json => Ok(None),
            View::Terminal => Terminal::start(seats, stop).map(Some),
            View::Page => {
                let address = serve(self.listen, seats)?;
                output::line(&format!("the page is at {address}    (ctrl-C ends it)"))?;
                if has_browser() && std::io::stdout().is_terminal() {
                    // The address stands above; a machine without a browser loses nothing.
                    let _ = open::that_detached(address.to_string());
                }
                Ok(None)
            }
        }
    }
}

impl View {
    /// How the frames of the station on that port are shown, and where viewers follow them.
    fn show(self, port: &str) -> Result<(Show, Option<StationSeat>), Failure> {
        let with_viewers = |show: fn(Box<Panel>) -> Show| {
            let (panel, seat) = Panel::new()?;
            Ok((show(Box::new(panel)), Some(StationSeat { port: port.to_owned(), seat })))
        };
        match self {
            Self::Lines => Ok((Show::Lines, None)),
            Self::Json => Ok((Show::Json, None)),
            Self::Page => with_viewers(Show::Page),
            Self::Terminal => with_viewers(Show::Terminal),
        }
    }
}

fn has_browser() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some())
}
