//! Files of the host: recordings, captures, label images, optics and gates.

pub mod capture_folder;
pub mod frame_record;
pub mod gates;
pub mod input_images;
pub mod judgements;
pub mod label_files;
pub mod label_folder;
pub mod optics;
pub mod provenance;
pub mod recording;
#[cfg(test)]
pub mod test_report;
