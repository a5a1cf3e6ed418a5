//! Why a data set, or one of its images, cannot be used.

use std::io;
use std::path::PathBuf;

use host_console::{Failure, one_line};
use shared::{DecodeError, PlaneSummary};
use thiserror::Error;
use zip::result::ZipError;

/// Why a folder, zip or file is not a data set.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// Nothing is there.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The place named.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not a valid zip, or is truncated.
    #[error("{} is not a zip, or is truncated", path.display())]
    NotZip {
        /// The file.
        path: PathBuf,
        /// What the reader found.
        #[source]
        source: ZipError,
    },
    /// An entry of a zip that leads out of it.
    #[error("{} has an entry that leads out of it, as no zip of images needs: {entry}", path.display())]
    LeadsOut {
        /// The zip.
        path: PathBuf,
        /// The entry's name.
        entry: String,
    },
    /// A file that is neither a zip nor an image.
    #[error("{} is not a folder, a zip, or a PNG, TIFF or JPEG image", path.display())]
    NotData {
        /// The file.
        path: PathBuf,
    },
    /// A label image, judged by its name, instead of an image.
    #[error("by its name, {} is the ground truth of another image", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
    },
    /// There are no files at all.
    #[error("{} is empty", path.display())]
    Empty {
        /// The folder or zip.
        path: PathBuf,
    },
    /// There are files, but no images.
    #[error("{} contains {files} files, but no PNG, TIFF or JPEG image", path.display())]
    NoPictures {
        /// The folder or zip.
        path: PathBuf,
        /// Files seen.
        files: usize,
    },
}

impl DatasetError {
    /// The next step.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "check the path",
            Self::Unreadable { .. } => "check the permissions and the disk",
            Self::NotZip { .. } => {
                "download the zip again, or unpack what can be unpacked and give the folder"
            }
            Self::LeadsOut { .. } => "do not trust this zip; unpack what you need of it, and give the folder",
            Self::Truth { .. } => "give the image itself, without _masks",
            Self::NotData { .. } => "give a folder, a zip, or an image",
            Self::Empty { .. } | Self::NoPictures { .. } => {
                "give the folder or zip with the images: <id>/images/<id>.png with <id>/masks/*.png, \
                 or x.png with x_masks.png, or images/ next to labels/"
            }
        }
    }
}

impl From<DatasetError> for Failure {
    fn from(error: DatasetError) -> Self {
        let next = error.next_step();
        Self::failed(error, next)
    }
}

/// Why an image, or its ground truth, cannot be used.
#[derive(Debug, Error)]
pub enum SampleError {
    /// The file cannot be read.
    #[error("{file} cannot be read")]
    Read {
        /// The file, or the entry of a zip.
        file: String,
        /// What the system or the zip says.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any image.
    #[error("{file} has {bytes} bytes; the limit for an image is {limit}")]
    TooLarge {
        /// The file, or the entry of a zip.
        file: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is not a valid image, mask or label image.
    #[error("{file} cannot be used")]
    Decode {
        /// The file, or the entry of a zip.
        file: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Mask or labels differ in size from the image.
    #[error("{file} has {width}x{height} pixels, but its image has {image_width}x{image_height}")]
    TruthSize {
        /// The ground truth's file.
        file: String,
        /// Pixels across in the truth.
        width: u32,
        /// Pixels down in the truth.
        height: u32,
        /// Pixels across in the image.
        image_width: u32,
        /// Pixels down in the image.
        image_height: u32,
    },
    /// A mask of all nuclei where labels are wanted.
    #[error("{file} shows all nuclei by one value, in {components} parts: a mask, not labels")]
    BinaryMask {
        /// The ground truth's file.
        file: String,
        /// Parts that touch nowhere.
        components: u32,
    },
    /// The image has no ground truth, which is required.
    #[error("{file} has no masks")]
    NoTruth {
        /// The image's file.
        file: String,
    },
}

impl SampleError {
    /// The next step.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the disk, or download the data again",
            Self::TooLarge { .. } => "split the image into parts",
            Self::Decode { source: DecodeError::Size(_), .. } => "split the image into parts",
            Self::Decode { source: DecodeError::NotLabels { .. }, .. } => {
                "save the labels as a grayscale 16-bit PNG or TIFF, 0 for background"
            }
            Self::Decode { source: DecodeError::Unsupported { .. }, .. } => {
                "save it as grayscale or RGB with 8 or 16 bits"
            }
            Self::Decode { source: DecodeError::Proprietary { format }, .. } => format.export(),
            Self::Decode { source: DecodeError::Plane(_), .. } => "choose another with --plane or --channel",
            Self::Decode { .. } => "download or save the file again",
            Self::TruthSize { .. } => "annotate this image again, at its size",
            Self::BinaryMask { .. } => {
                "give each nucleus its own value, or treat each part as a nucleus with --split-components"
            }
            Self::NoTruth { .. } => {
                "put its masks into masks/ next to images/, or its labels next to it as x_masks.png"
            }
        }
    }

    /// The error, its causes and the next step on one line.
    pub fn line(&self) -> String {
        format!("{}; {}", one_line(self), self.next_step())
    }
}

impl From<SampleError> for Failure {
    fn from(error: SampleError) -> Self {
        let next = error.next_step();
        Self::failed(error, next)
    }
}

/// A warning about an image or its ground truth, which can still be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SampleWarning {
    /// Masks of an image overlap.
    #[error(
        "{picture}: {pixels} pixels are in more than one mask; each was assigned to the smallest of its masks"
    )]
    Overlap {
        /// The image's file.
        picture: String,
        /// Pixels with several masks.
        pixels: u64,
    },
    /// The image's file has several planes or channels.
    #[error("{picture}: {summary}")]
    Planes {
        /// The image's file.
        picture: String,
        /// The planes and channels, and which one was read.
        summary: PlaneSummary,
    },
    /// A mask without a pixel.
    #[error("{mask} is empty and was skipped")]
    EmptyMask {
        /// The mask's file.
        mask: String,
    },
    /// A mask that is covered completely by smaller masks, or by an equal one.
    #[error("{mask} is covered by other masks and was skipped")]
    Covered {
        /// The mask's file.
        mask: String,
    },
}
