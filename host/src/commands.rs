//! One file per command: its arguments, and `run`, which returns the exit code or the failure to print.

pub mod audit;
pub mod capture;
pub mod convert;
pub mod demo;
pub mod dilution_series;
pub mod doctor;
pub mod explore;
pub mod flash;
pub mod key;
pub mod link_test;
pub mod live;
pub mod passed_on;
mod pixel_size_arg;
mod plane_args;
mod port_args;
pub mod publish;
pub mod report;
pub mod score;
pub mod segment;
pub mod sign;
pub mod station;
mod view_args;
