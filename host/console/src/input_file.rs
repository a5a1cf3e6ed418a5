//! Files that a person names as input.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Opens a file for reading. A pipe or a device is refused, since it may never answer, or never end.
///
/// # Errors
/// When it is not a regular file, or cannot be opened.
pub fn open_input(path: &Path) -> io::Result<File> {
    let about = fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        let message = "it is a pipe or a device, and a file is needed";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    File::open(path)
}

/// The content of a file.
///
/// # Errors
/// As [`open_input`], and when it cannot be read.
pub fn read_input(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_input(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// The content of a text file.
///
/// # Errors
/// As [`read_input`], and when it is not UTF-8.
pub fn read_input_text(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    open_input(path)?.read_to_string(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn files_are_read_and_what_never_ends_or_answers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [file, pipe, link] = ["file", "pipe", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&file, &link] {
            assert_eq!(read_input(path).unwrap(), b"text");
            assert_eq!(read_input_text(path).unwrap(), "text");
        }
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = read_input(path).unwrap_err();
            assert!(error.to_string().contains("a pipe or a device"), "{error}");
            assert!(read_input_text(path).is_err());
        }
        assert_eq!(read_input(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read_input(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
