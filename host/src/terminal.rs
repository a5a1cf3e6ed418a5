//! The view on a terminal: a viewer like a browser's page, told the same and asking for the same, on a screen of
//! its own that is gone when it ends.

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
use tokio::sync::broadcast::error::TryRecvError;

use crate::page::Seat;
use keys::{Pressed, press};
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
    pub fn start(seat: Seat, stop: &'static AtomicBool) -> Result<Self, Failure> {
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
                let shown = show(terminal, &seat, stop, &ended);
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

/// Draws what is told and passes on what is asked for, until the end.
fn show(mut terminal: DefaultTerminal, seat: &Seat, stop: &AtomicBool, ended: &AtomicBool) -> io::Result<()> {
    let (latest, mut changes, _viewing) = seat.feed.follow();
    let mut screen = Screen::default();
    latest.iter().for_each(|message| hear(&mut screen, message));
    while !ended.load(Ordering::Relaxed) {
        loop {
            match changes.try_recv() {
                Ok(change) => hear(&mut screen, &change.message),
                Err(TryRecvError::Lagged(_)) => {
                    seat.feed.state().iter().for_each(|message| hear(&mut screen, message));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        terminal.draw(|frame| draw::draw(frame, &screen))?;
        if !event::poll(LOOK_AROUND)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match press(key, &mut screen) {
            Pressed::Nothing => {}
            Pressed::Quit => stop.store(true, Ordering::Relaxed),
            Pressed::Ask(command) => {
                // A full queue is a person who presses faster than the station acts.
                let _ = seat.commands.try_send(command);
            }
        }
    }
    Ok(())
}

fn hear(screen: &mut Screen, message: &Message) {
    if let Message::Text(text) = message {
        screen.hear(text.as_str());
    }
}
