//! Images of a folder or zip, by name.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use shared::is_picture;
use zip::ZipArchive;
use zip::result::ZipError;

use super::CameraError;

/// Maximum length of an image file, in bytes.
const MAX_FILE: u64 = 1 << 30;
/// How deep folders are searched: `<set>/<id>/images/<id>.png` and one more.
const MAX_DEPTH: u32 = 5;

/// The location of the images, and all their names in order.
#[derive(Debug)]
pub(super) struct PictureStore {
    place: StoredIn,
    names: Vec<String>,
}

#[derive(Debug)]
enum StoredIn {
    Folder(PathBuf),
    Zip(Box<ZipArchive<BufReader<File>>>),
}

impl PictureStore {
    /// Lists the images of a folder or zip, or a single image file.
    pub(super) fn open(path: &Path) -> Result<Self, CameraError> {
        let failed = |source| CameraError::Pictures { path: path.to_owned(), source };
        let (place, mut names) = if fs::metadata(path).map_err(failed)?.is_dir() {
            let mut names = Vec::new();
            list_folder(path, "", MAX_DEPTH, &mut names).map_err(failed)?;
            (StoredIn::Folder(path.to_owned()), names)
        } else if let Some((folder, name)) =
            path.parent().zip(path.file_name().and_then(|name| name.to_str()))
            && is_picture(name)
        {
            (StoredIn::Folder(folder.to_owned()), vec![name.to_owned()])
        } else {
            let file = File::open(path).map_err(failed)?;
            let archive = ZipArchive::new(BufReader::new(file))
                .map_err(|source| CameraError::NoZip { path: path.to_owned(), source })?;
            let names = archive.file_names().map(str::to_owned).collect();
            (StoredIn::Zip(Box::new(archive)), names)
        };
        names.retain(|name| is_picture(name));
        names.sort_unstable();
        if names.is_empty() {
            return Err(CameraError::NoPictures { path: path.to_owned() });
        }
        Ok(Self { place, names })
    }

    /// The images' names, sorted; paths inside the folder or zip.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// An image's location, for messages.
    pub(super) fn place_of(&self, index: usize) -> String {
        let name = &self.names[index];
        match &self.place {
            StoredIn::Folder(folder) => folder.join(name).display().to_string(),
            StoredIn::Zip(_) => format!("{name} in the zip"),
        }
    }

    /// An image's bytes.
    pub(super) fn read(&mut self, index: usize) -> io::Result<Vec<u8>> {
        let name = &self.names[index];
        match &mut self.place {
            StoredIn::Folder(folder) => read_limited(File::open(folder.join(name))?),
            StoredIn::Zip(archive) => read_limited(archive.by_name(name).map_err(zip_as_io)?),
        }
    }
}

fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("the file is over the limit of {} MiB", MAX_FILE >> 20)));
    }
    Ok(bytes)
}

fn zip_as_io(error: ZipError) -> io::Error {
    match error {
        ZipError::Io(error) => error,
        error => io::Error::other(error),
    }
}

/// Collects the files under `folder`, named relative to where the search began.
fn list_folder(folder: &Path, prefix: &str, depth: u32, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
        // Follows links, so that a folder of links to images works.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if !metadata.is_dir() {
            names.push(name);
        } else if depth > 1 {
            list_folder(&entry.path(), &format!("{name}/"), depth - 1, names)?;
        }
    }
    Ok(())
}
