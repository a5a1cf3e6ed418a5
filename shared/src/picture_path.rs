//! Which files of a folder or zip are images, judged by name only.

const EXTENSIONS: [&str; 7] = ["png", "tif", "tiff", "jpg", "jpeg", "bmp", "webp"];
/// Microscope vendors' container formats: treated as images, so that the error can explain how to export from them.
const PROPRIETARY: [&str; 6] = ["nd2", "czi", "lif", "zvi", "oib", "ims"];
const TRUTH_FOLDERS: [&str; 2] = ["masks", "labels"];
const TRUTH_SUFFIX: &str = "_masks";

/// Whether `path` is an image to be segmented.
///
/// `path` is relative to the folder or zip that was given, with `/` or `\` between its parts. It is
/// a picture when its extension is that of an image or of a microscope's container, whatever the case, unless a part of it is
/// hidden (starts with a dot) or is `__MACOSX`, one of its folders is `masks` or `labels`, or its
/// stem ends in `_masks`.
pub fn is_picture(path: &str) -> bool {
    let mut folders = path.split(['/', '\\']);
    let name = folders.next_back().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let is_one_of = |word: &str, list: &[&str]| list.iter().any(|entry| word.eq_ignore_ascii_case(entry));
    (is_one_of(extension, &EXTENSIONS) || is_one_of(extension, &PROPRIETARY))
        && !is_hidden(name)
        && !ends_with_ignoring_case(stem, TRUTH_SUFFIX)
        && !folders
            .any(|folder| is_hidden(folder) || folder == "__MACOSX" || is_one_of(folder, &TRUTH_FOLDERS))
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

fn ends_with_ignoring_case(text: &str, suffix: &str) -> bool {
    let tail = text.len().checked_sub(suffix.len()).and_then(|at| text.get(at..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_what_is_none() {
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
            "é_mask.png",
            "my masks/a.png",
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
            "x/A_MASKS.PNG",
        ] {
            assert!(!is_picture(path), "{path}");
        }
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
