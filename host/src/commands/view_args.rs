//! How frames are shown: the arguments of the commands that watch.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use host_console::{Failure, output};

use crate::live::Show;
use crate::page::{DEFAULT_ADDRESS, Panel, serve};
use crate::terminal::Terminal;

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
}

impl ViewArgs {
    /// Opens the view. On a terminal `stop` is set when the person wants no more.
    ///
    /// # Errors
    /// [`Failure`] when no page can be served, or this is no terminal.
    pub fn open(&self, stop: &'static AtomicBool) -> Result<Show, Failure> {
        if self.json {
            return Ok(Show::Json);
        }
        let has_browser = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
        let is_watched = std::io::stdout().is_terminal();
        let has_keys =
            std::io::stdin().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        let view = match (is_watched, has_browser, has_keys) {
            (true, true, _) => View::Page,
            (true, false, true) => View::Terminal,
            _ => View::Lines,
        };
        match self.view.unwrap_or(view) {
            View::Lines => Ok(Show::Lines),
            View::Terminal if !is_watched => {
                let next = "leave --view out, or use --view lines";
                Err(Failure::usage("standard output is no terminal to draw on", next))
            }
            View::Terminal => {
                let (panel, seat) = Panel::new()?;
                Ok(Show::Terminal { panel: Box::new(panel), _terminal: Terminal::start(seat, stop)? })
            }
            View::Page => {
                let (panel, seat) = Panel::new()?;
                let address = serve(self.listen, seat)?;
                output::line(&format!("the page is at {address}    (ctrl-C ends it)"))?;
                if has_browser && is_watched {
                    // The address stands above; a machine without a browser loses nothing.
                    let _ = open::that_detached(address.to_string());
                }
                Ok(Show::Page(Box::new(panel)))
            }
        }
    }
}
