//! Helpers for all folders above: the user's settings, HTML, a small web server.

pub mod brightness;
pub mod html;
pub mod http_server;
pub mod user_config;
