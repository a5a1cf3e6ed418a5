//! Stations while they count: the sessions with them, the web page and the terminal.

pub mod fleet;
pub mod live;
pub mod terminal;
pub mod view;
pub mod web;
