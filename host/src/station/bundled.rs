//! The model that comes with the program: what the demo flashes, and what a new station runs.

/// The bundled model file.
pub const BUNDLED_MODEL: &[u8] = include_bytes!("../../../firmware/models/factory.onnx");
