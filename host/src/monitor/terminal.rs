//! The view on a terminal: the same messages and commands as on the web page, on the terminal's alternate screen. With
//! several stations it shows one of them, and a line of tabs.

mod digits;
mod draw;
mod keys;
mod screen_state;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use host_console::{Failure, warning};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::monitor::view::{StationChannel, ViewCommand, ViewMessage, ViewerChannel, ViewerGuard};
use keys::{KeyAction, action_for, tab_for};
use screen_state::ScreenState;

/// Longest delay of a key, and of a message.
const POLL_INTERVAL: Duration = Duration::from_millis(80);

/// A view that holds the terminal, and restores it when it is dropped.
#[derive(Debug)]
pub struct TerminalView {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TerminalView {
    /// Takes over the terminal. It sets `stop` when the person quits.
    ///
    /// # Errors
    /// [`Failure`] when standard input and output are not a terminal.
    pub fn start(channels: Vec<StationChannel>, stop: &'static AtomicBool) -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            Failure::usage(
                format!("cannot draw on this terminal: {error}"),
                "use --view page, or --view lines",
            )
        })?;
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                let result = run(terminal, channels, stop, &ended);
                ratatui::restore();
                if let Err(error) = result {
                    warning!("the terminal has closed: {error}");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for TerminalView {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // ratatui's hook has restored the terminal and printed the message of a panic.
            let _ = thread.join();
        }
    }
}

/// One station on the terminal.
struct StationTab {
    channel: ViewerChannel,
    screen: ScreenState,
    messages: Receiver<Arc<ViewMessage>>,
    _guard: ViewerGuard,
}

impl StationTab {
    fn new(StationChannel { port, channel }: StationChannel) -> Self {
        let (latest, messages, guard) = channel.feed.follow();
        let mut screen = ScreenState::of(port);
        latest.iter().for_each(|message| screen.apply(message));
        Self { channel, screen, messages, _guard: guard }
    }

    /// Applies the messages that have arrived.
    fn update(&mut self) {
        loop {
            match self.messages.try_recv() {
                Ok(message) => self.screen.apply(&message),
                Err(TryRecvError::Lagged(_)) => {
                    self.channel.feed.state().iter().for_each(|message| self.screen.apply(message));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }

    fn send(&self, command: ViewCommand) {
        // The queue is full when a person presses keys faster than the station acts.
        let _ = self.channel.commands.try_send(command);
    }
}

/// Draws the stations and sends commands for keys, until the end.
fn run(
    mut terminal: DefaultTerminal,
    channels: Vec<StationChannel>,
    stop: &AtomicBool,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut tabs: Vec<StationTab> = channels.into_iter().map(StationTab::new).collect();
    let mut selected = 0;
    while !ended.load(Ordering::Relaxed) {
        tabs.iter_mut().for_each(StationTab::update);
        let screens: Vec<&ScreenState> = tabs.iter().map(|tab| &tab.screen).collect();
        terminal.draw(|frame| draw::draw(frame, &screens, selected))?;
        if !event::poll(POLL_INTERVAL)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        if let Some(other) = tab_for(key, selected, tabs.len()) {
            selected = other;
            continue;
        }
        let Some(tab) = tabs.get_mut(selected) else { continue };
        match action_for(key, &mut tab.screen) {
            KeyAction::Nothing => {}
            KeyAction::Quit => stop.store(true, Ordering::Relaxed),
            // A person has one set of gates, whichever station is selected.
            KeyAction::Send(gates @ ViewCommand::Gates { .. }) => {
                tabs.iter().for_each(|tab| tab.send(gates.clone()));
            }
            KeyAction::Send(command) => tab.send(command),
        }
    }
    Ok(())
}
