//! Which messages go to one viewer's browser.

use crate::monitor::view::ViewMessage;

/// Lets through every count, and images with their outlines as fast as the viewer draws them.
#[derive(Debug, Default)]
pub struct FrameThrottle {
    /// The frame that the viewer is drawing.
    drawing: Option<u32>,
}

impl FrameThrottle {
    /// Whether a message goes to the viewer. Nuclei precede their image, so that they choose the frame.
    pub fn admits(&mut self, message: &ViewMessage) -> bool {
        match message {
            ViewMessage::Nuclei(nuclei) if self.drawing.is_none() => {
                self.drawing = Some(nuclei.frame);
                true
            }
            ViewMessage::Nuclei(_) => false,
            ViewMessage::Preview { frame, .. } => self.drawing == Some(*frame),
            _ => true,
        }
    }

    /// The viewer has drawn the frame that it was sent.
    pub const fn on_drawn(&mut self) {
        self.drawing = None;
    }
}

#[cfg(test)]
mod tests {
    use shared::LabelImage;

    use super::*;
    use crate::monitor::view::NucleiView;
    use crate::records::gates::Gates;

    #[test]
    fn images_are_sent_as_fast_as_they_are_drawn_and_with_their_own_outlines() {
        let mut throttle = FrameThrottle::default();
        let labels = LabelImage::new(1, 1, vec![1]).unwrap();
        let nuclei = |frame| ViewMessage::Nuclei(NucleiView::new(frame, &labels, &Gates::default()).unwrap());
        let preview = |frame| ViewMessage::Preview { frame, jpeg: Vec::new() };
        assert!(throttle.admits(&nuclei(1)));
        // No other frame is sent before this one is drawn; other messages always are.
        assert!(!throttle.admits(&nuclei(2)) && !throttle.admits(&preview(2)));
        assert!(throttle.admits(&ViewMessage::Gates(Gates::default())));
        assert!(throttle.admits(&preview(1)));
        assert!(!throttle.admits(&nuclei(3)));
        throttle.on_drawn();
        assert!(throttle.admits(&nuclei(4)) && !throttle.admits(&preview(3)) && throttle.admits(&preview(4)));
    }
}
