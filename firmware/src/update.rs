//! Model update: storing in slots, verifying, loading.

mod model_loader;
mod slot_store;

pub use model_loader::{load, load_models, verify};
#[cfg(test)]
pub use slot_store::{Fault, MemoryStorage};
pub use slot_store::{
    FolderStorage, LoaderJob, NoStorage, SlotStorage, SlotStore, StorageError, stored_model, stored_table,
};

/// The model that every station has.
pub const FACTORY_MODEL: &[u8] = include_bytes!("../models/factory.onnx");
