//! What every folder above may use: settings of the user, HTML, a small web server.

pub mod brightness;
pub mod html;
pub mod http_server;
pub mod user_config;
