//! Which files of a folder or zip are images, and which are their ground truth, judged by name only.

const EXTENSIONS: [&str; 7] = ["png", "tif", "tiff", "jpg", "jpeg", "bmp", "webp"];
/// Microscope vendors' container formats: treated as images, so that the error can explain how to export from them.
const PROPRIETARY: [&str; 6] = ["nd2", "czi", "lif", "zvi", "oib", "ims"];
const TRUTH_FOLDERS: [&str; 6] = ["masks", "mask", "labels", "label", "gt", "ground_truth"];
const IMAGE_FOLDERS: [&str; 5] = ["images", "image", "imgs", "img", "raw"];
/// Suffixes of ground-truth stems, longer ones first: Cellpose's, then others'.
const TRUTH_SUFFIXES: [&str; 6] = ["_cp_masks", "_masks", "_mask", "_labels", "_label", "_gt"];
/// Suffixes of image stems with ground truth next to them, as in Cellpose's training data.
const IMAGE_SUFFIXES: [&str; 1] = ["_img"];

/// Whether `path` is an image to be segmented.
///
/// `path` is relative to the given folder or zip, with `/` or `\` between its parts. It is an image if it has the
/// extension of an image or of a microscope's container format, ignoring case, unless a part of it is hidden (starts
/// with a dot) or is `__MACOSX`, one of its folders is for ground truth, such as `masks` or `labels`, or its stem has a
/// suffix of ground truth, such as `_masks`.
pub fn is_picture(path: &str) -> bool {
    let mut folders = path.split(['/', '\\']);
    let name = folders.next_back().unwrap_or_default();
    is_image_file(name)
        && truth_stem(picture_stem(name)).is_none()
        && !folders.any(is_truth_folder)
        && !path.split(['/', '\\']).any(|part| part == "__MACOSX" || is_hidden(part))
}

/// Whether a file name has the extension of an image or of a microscope's container format.
pub fn is_image_file(name: &str) -> bool {
    let Some((_, extension)) = name.rsplit_once('.') else { return false };
    is_one_of(extension, &EXTENSIONS) || is_one_of(extension, &PROPRIETARY)
}

/// The stem of the image whose ground truth has this stem; `None` if the stem has no suffix of ground truth.
pub fn truth_stem(stem: &str) -> Option<&str> {
    TRUTH_SUFFIXES.iter().find_map(|suffix| without_suffix(stem, suffix))
}

/// An image's stem without an image suffix: `a` for `a_img`.
pub fn bare_stem(stem: &str) -> &str {
    IMAGE_SUFFIXES.iter().find_map(|suffix| without_suffix(stem, suffix)).unwrap_or(stem)
}

/// Whether a folder name is one for ground truth.
pub fn is_truth_folder(name: &str) -> bool {
    is_one_of(name, &TRUTH_FOLDERS)
}

/// Whether a folder name is one for images with ground truth next to it.
pub fn is_image_folder(name: &str) -> bool {
    is_one_of(name, &IMAGE_FOLDERS)
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| word.eq_ignore_ascii_case(entry))
}

/// The file name of `path` without folders and without its last extension.
pub fn picture_stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    }
}

fn is_hidden(part: &str) -> bool {
    part.starts_with('.') && part != "." && part != ".."
}

/// The text before a suffix, ignoring case; `None` if it has another suffix, or nothing before it.
fn without_suffix<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len()).filter(|&at| at > 0)?;
    let tail = text.get(at..)?;
    tail.eq_ignore_ascii_case(suffix).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_file_names_are_recognised() {
        for path in [
            "a.png",
            "A.PNG",
            "x/y/z.tif",
            "x\\y\\z.Tiff",
            "0acd2c22/images/0acd2c22.png",
            "../data/well 3.jpg",
            "./a.b.jpeg",
            "masks.png",
            "unmasks.png",
            "my masks/a.png",
            "x/a.czi",
            "raw/a_img.bmp",
            "_mask.png",
        ] {
            assert!(is_picture(path), "{path}");
        }
        for path in [
            "",
            "png",
            ".png",
            "a.png/",
            "a.txt",
            "a.png.zip",
            ".hidden.png",
            "x/.cache/a.png",
            "__MACOSX/x/._a.png",
            "__MACOSX/a.png",
            "0acd2c22/masks/1f.png",
            "x/Labels/a.tif",
            "labels\\a.tif",
            "a_masks.tif",
            "é_mask.png",
            "a_cp_masks.png",
            "raw/a_label.tif",
            "x/gt/a.png",
            "x/A_MASKS.PNG",
        ] {
            assert!(!is_picture(path), "{path}");
        }
    }

    #[test]
    fn stems_of_truths_and_pictures() {
        for (stem, of) in [
            ("a_masks", Some("a")),
            ("a_CP_Masks", Some("a")),
            ("a_mask", Some("a")),
            ("a_label", Some("a")),
            ("a_b_gt", Some("a_b")),
            ("_masks", None),
            ("amasks", None),
            ("é", None),
        ] {
            assert_eq!(truth_stem(stem), of, "{stem}");
        }
        assert_eq!([bare_stem("a_img"), bare_stem("a"), bare_stem("_img")], ["a", "a", "_img"]);
    }

    #[test]
    fn stems() {
        for (path, stem) in [
            ("a.png", "a"),
            ("x/y/a.ome.tif", "a.ome"),
            ("x\\a.png", "a"),
            ("x.y/a", "a"),
            (".png", ".png"),
            ("", ""),
            ("é.png", "é"),
        ] {
            assert_eq!(picture_stem(path), stem, "{path}");
        }
    }
}
