//! One file a command: its arguments, and `run`, which gives the exit code or the failure to tell.

pub mod audit;
pub mod bench;
pub mod capture;
pub mod convert;
pub mod demo;
pub mod dilution_series;
pub mod doctor;
pub mod explore;
pub mod export;
pub mod flash;
pub mod key;
pub mod link_test;
pub mod live;
mod network_args;
mod pixel_size_arg;
mod port_args;
pub mod probe_cuda;
pub mod publish;
pub mod quantize;
pub mod report;
pub mod score;
pub mod segment;
pub mod sign;
pub mod split;
pub mod station;
pub mod train;
mod view_args;
