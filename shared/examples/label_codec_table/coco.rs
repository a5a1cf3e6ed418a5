//! COCO's compressed run lengths, as `rleEncode` and `rleToString` of pycocotools' `maskApi.c` write them.

use shared::LabelImage;

/// One text a nucleus, in the order of labels, which must be `1..=n`.
pub(super) fn compressed_rle(labels: &LabelImage) -> Vec<String> {
    let (width, height) = (labels.width() as usize, labels.height() as usize);
    // Where each nucleus' stretches start and end, in columns.
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); labels.max_label() as usize + 1];
    let mut last = 0;
    for at in 0..width * height {
        let label = labels.labels_hw()[at % height * width + at / height] as usize;
        if label != last {
            edges[last].push(at);
            edges[label].push(at);
            last = label;
        }
    }
    edges[last].push(width * height);
    edges.iter().skip(1).map(|edges| text(edges, width * height)).collect()
}

fn text(edges: &[usize], pixels: usize) -> String {
    let ends = edges.iter().copied().chain((edges.last() != Some(&pixels)).then_some(pixels));
    let mut start = 0;
    let counts: Vec<i64> = ends
        .map(|end| {
            let count = (end - start) as i64;
            start = end;
            count
        })
        .collect();
    let mut text = String::new();
    for (i, &count) in counts.iter().enumerate() {
        let mut rest = if i > 2 { count - counts[i - 2] } else { count };
        loop {
            let low = (rest & 0x1F) as u8;
            rest >>= 5;
            let ends = rest == if low & 0x10 == 0 { 0 } else { -1 };
            text.push(char::from(b'0' + low + if ends { 0 } else { 0x20 }));
            if ends {
                break;
            }
        }
    }
    text
}
