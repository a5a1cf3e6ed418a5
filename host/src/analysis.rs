//! Evaluation of images and counts: reports, scores, dilution series, data set statistics.

pub mod dilution;
pub mod exploration;
pub mod label_source;
pub mod micrometer;
pub mod model_file;
pub mod report;
pub mod scoring;
