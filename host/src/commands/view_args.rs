//! How frames are shown: the arguments of the commands that watch.

use std::io::IsTerminal as _;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use host_console::{Failure, output};

use crate::live::Show;
use crate::page::{DEFAULT_ADDRESS, Panel};

/// How frames are shown.
#[derive(Debug, Clone, Copy, Args)]
pub struct ViewArgs {
    /// How to watch [default: a page where a browser can be opened, else lines]
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
    /// A line a frame
    Lines,
}

impl ViewArgs {
    /// Opens the view.
    ///
    /// # Errors
    /// [`Failure`] when no page can be served.
    pub fn open(&self) -> Result<Show, Failure> {
        if self.json {
            return Ok(Show::Json);
        }
        let has_browser = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
        let is_watched = std::io::stdout().is_terminal();
        let view = if has_browser && is_watched { View::Page } else { View::Lines };
        match self.view.unwrap_or(view) {
            View::Lines => Ok(Show::Lines),
            View::Page => {
                let (panel, address) = Panel::open(self.listen)?;
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
