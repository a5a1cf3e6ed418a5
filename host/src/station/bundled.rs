//! The model built into the program: the demo flashes it, and new stations run it.

/// The bundled model file.
pub const BUNDLED_MODEL: &[u8] = include_bytes!("../../../firmware/models/factory.onnx");
