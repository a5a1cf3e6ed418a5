//! The order in which a kernel walks over pixels.

/// Where a vector of pixels is read and written.
#[derive(Clone, Copy, Default)]
pub(crate) struct PixelPosition {
    pub(crate) y: usize,
    pub(crate) x: usize,
}

/// The places of a block of rows, left to right and top to bottom.
pub(crate) struct PixelTiles {
    next: PixelPosition,
    width: usize,
    lanes: usize,
}

impl PixelTiles {
    /// Those from the row `y` on.
    #[inline(always)]
    pub(crate) const fn from(y: usize, width: usize, lanes: usize) -> Self {
        Self { next: PixelPosition { y, x: 0 }, width, lanes }
    }

    /// The next ones.
    #[inline(always)]
    pub(crate) const fn take<const P: usize>(&mut self) -> [PixelPosition; P] {
        let mut places = [PixelPosition { y: 0, x: 0 }; P];
        let mut index = 0;
        while index < P {
            places[index] = self.next;
            self.next.x += self.lanes;
            if self.next.x >= self.width {
                self.next = PixelPosition { y: self.next.y + 1, x: 0 };
            }
            index += 1;
        }
        places
    }
}
