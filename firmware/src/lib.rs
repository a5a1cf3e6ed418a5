//! The nuclei station: camera frames in, masks and counts with their evidence out.
#![forbid(unsafe_code)]

mod announcement;
mod bench;
mod camera;
mod capture;
mod check;
mod cli;
mod config;
#[cfg(test)]
mod fixture_model;
mod frames;
mod illumination;
mod journal;
mod link;
mod model_loader;
mod pipeline;
mod run;
mod service;
mod slot_store;
mod status_light;
mod stop;

pub use cli::main;
