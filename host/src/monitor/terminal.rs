//! The view on a terminal: a viewer like a browser's page, told the same and asking for the same, on a screen of
//! its own that is gone when it ends. Of several stations one is shown, and a line with all.

mod digits;
mod draw;
mod keys;
mod screen;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::ws::Message;
use host_console::Failure;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::monitor::web::{Change, Command, Seat, StationSeat, Viewing};
use keys::{Pressed, choose, press};
use screen::Screen;

/// How long a key may wait, and a change.
const LOOK_AROUND: Duration = Duration::from_millis(80);

/// A terminal in use; it is as before when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Takes the terminal. `stop` is set when the person wants no more.
    ///
    /// # Errors
    /// [`Failure`] when standard input and output are no terminal.
    pub fn start(seats: Vec<StationSeat>, stop: &'static AtomicBool) -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            Failure::usage(
                format!("this is no terminal to draw on: {error}"),
                "use --view page, or --view lines",
            )
        })?;
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                let shown = show(terminal, seats, stop, &ended);
                ratatui::restore();
                if let Err(error) = shown {
                    eprintln!("the terminal is gone: {error}");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so, and the terminal was restored by ratatui's hook.
            let _ = thread.join();
        }
    }
}

/// What the terminal shows of one station, and where it comes from.
struct Followed {
    seat: Seat,
    screen: Screen,
    changes: Receiver<Change>,
    _viewing: Viewing,
}

impl Followed {
    fn new(StationSeat { port, seat }: StationSeat) -> Self {
        let (latest, changes, viewing) = seat.feed.follow();
        let mut screen = Screen::of(port);
        latest.iter().for_each(|message| hear(&mut screen, message));
        Self { seat, screen, changes, _viewing: viewing }
    }

    /// Takes in what was told meanwhile.
    fn look(&mut self) {
        loop {
            match self.changes.try_recv() {
                Ok(change) => hear(&mut self.screen, &change.message),
                Err(TryRecvError::Lagged(_)) => {
                    self.seat.feed.state().iter().for_each(|message| hear(&mut self.screen, message));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }

    fn ask(&self, command: Command) {
        // A full queue is a person who presses faster than the station acts.
        let _ = self.seat.commands.try_send(command);
    }
}

/// Draws what is told and passes on what is asked for, until the end.
fn show(
    mut terminal: DefaultTerminal,
    seats: Vec<StationSeat>,
    stop: &AtomicBool,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut stations: Vec<Followed> = seats.into_iter().map(Followed::new).collect();
    let mut chosen = 0;
    while !ended.load(Ordering::Relaxed) {
        stations.iter_mut().for_each(Followed::look);
        let screens: Vec<&Screen> = stations.iter().map(|station| &station.screen).collect();
        terminal.draw(|frame| draw::draw(frame, &screens, chosen))?;
        if !event::poll(LOOK_AROUND)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        if let Some(other) = choose(key, chosen, stations.len()) {
            chosen = other;
            continue;
        }
        let Some(station) = stations.get_mut(chosen) else { continue };
        match press(key, &mut station.screen) {
            Pressed::Nothing => {}
            Pressed::Quit => stop.store(true, Ordering::Relaxed),
            // A person has one set of gates, whichever station is looked at.
            Pressed::Ask(gates @ Command::Gates { .. }) => {
                stations.iter().for_each(|station| station.ask(gates.clone()));
            }
            Pressed::Ask(command) => station.ask(command),
        }
    }
    Ok(())
}

fn hear(screen: &mut Screen, message: &Message) {
    if let Message::Text(text) = message {
        screen.hear(text.as_str());
    }
}
