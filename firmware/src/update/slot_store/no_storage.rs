//! Without storage, the factory model runs and nothing can be staged.

use std::io;

use super::SlotStorage;

/// Storage that is empty and rejects all writes.
#[derive(Debug, Clone, Copy)]
pub struct NoStorage;

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "there is no storage"))
}

impl SlotStorage for NoStorage {
    fn read(&self, _name: &str, _limit: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn read_end(&self, _name: &str, _limit: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn write(&mut self, _name: &str, _bytes: &[u8]) -> io::Result<()> {
        unsupported()
    }

    fn write_at(&mut self, _name: &str, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        unsupported()
    }

    fn sync(&mut self, _name: &str) -> io::Result<()> {
        unsupported()
    }

    fn rename(&mut self, _from: &str, _to: &str) -> io::Result<()> {
        unsupported()
    }

    fn remove(&mut self, _name: &str) -> io::Result<()> {
        unsupported()
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        unsupported()
    }
}
