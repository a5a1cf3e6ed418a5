//! Where the pixels of a layer's values lie.

/// Pixels beside a row that kernels may read: zero, the padding of 3x3 convolutions.
const MARGIN: usize = 1;
/// Rows are stored in whole vectors of the widest set.
const WIDEST: usize = 16;

/// How `[channels, height, width]` values lie in memory.
///
/// Kernels read the padded form, `[height + 2, channels, row]`: the channels of a row of pixels follow each other,
/// so that what a kernel reads lies close together whatever the size of the image. Around the pixels is zero:
/// a row above and below, a column on the left, and on the right what fills the row up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    channels: usize,
    height: usize,
    width: usize,
    /// From a channel to the next.
    channel: usize,
    /// From a row to the one below.
    line: usize,
    /// Index of the first pixel.
    origin: usize,
    padded: bool,
}

impl Layout {
    /// The layout between kernels.
    pub const fn padded(channels: usize, height: usize, width: usize) -> Self {
        // A vector that begins within the row and one more pixel are within the row as stored.
        let row = width.next_multiple_of(WIDEST) + WIDEST;
        let line = channels * row;
        Self { channels, height, width, channel: row, line, origin: line + MARGIN, padded: true }
    }

    /// Row-major `[channels, height, width]`, as tract has it.
    pub const fn plain(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, channel: height * width, line: width, origin: 0, padded: false }
    }

    /// Channels.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Rows.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Whether this is the layout between kernels.
    pub const fn is_padded(&self) -> bool {
        self.padded
    }

    /// From a channel to the next.
    pub(crate) const fn channel_stride(&self) -> usize {
        self.channel
    }

    /// From a row to the one below.
    pub(crate) const fn line_stride(&self) -> usize {
        self.line
    }

    /// Index of a pixel.
    pub(crate) const fn index(&self, channel: usize, y: usize, x: usize) -> usize {
        self.origin + channel * self.channel + y * self.line + x
    }

    /// The shape of a tensor that holds the values.
    pub fn shape(&self) -> Vec<usize> {
        if self.padded {
            vec![self.height + 2 * MARGIN, self.channels, self.channel]
        } else {
            vec![1, self.channels, self.height, self.width]
        }
    }

    /// Values stored, the zeros around the pixels with them.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
