//! Ablation of augmentations: runs that differ in only one of them.

use host_crops::ColourAugmentation;
use host_crops::{Augmentation, Switch};

/// The augmentation itself, and the same without one of its parts at a time, each with its name.
pub fn variants(all: Augmentation, nucleus_px: f32) -> Vec<(&'static str, Augmentation)> {
    let colour = all.colour;
    let none = Augmentation::none(nucleus_px);
    let without = |colour: ColourAugmentation| Augmentation { colour, ..all };
    vec![
        ("all", all),
        ("no-geometry", Augmentation { geometry: Switch::Off, ..all }),
        (
            "no-scale",
            Augmentation { min_nucleus_px: nucleus_px, max_nucleus_px: nucleus_px, focus: none.focus, ..all },
        ),
        ("anywhere", Augmentation { on_nuclei: 0.0, ..all }),
        ("no-elastic", Augmentation { elastic: 0.0, ..all }),
        ("no-touching", Augmentation { touching: 0.0, ..all }),
        ("no-gamma", without(ColourAugmentation { gamma: 0.0, ..colour })),
        ("no-contrast", without(ColourAugmentation { contrast: 0.0, ..colour })),
        ("no-stain", without(ColourAugmentation { stain: 0.0, ..colour })),
        ("no-saturation", without(ColourAugmentation { saturation: 0.0, ..colour })),
        ("no-hue", without(ColourAugmentation { hue: 0.0, ..colour })),
        ("no-grey", without(ColourAugmentation { grey: 0.0, ..colour })),
        ("no-inversion", without(ColourAugmentation { inversion: 0.0, ..colour })),
        ("no-blur", without(ColourAugmentation { blur: 0.0, ..colour })),
        ("no-noise", without(ColourAugmentation { noise: 0.0, ..colour })),
        ("no-restain", without(ColourAugmentation { restain: 0.0, ..colour })),
        ("no-single-channel", without(ColourAugmentation { single_channel: 0.0, ..colour })),
        ("no-defocus", without(ColourAugmentation { defocus: 0.0, ..colour })),
        ("no-uneven-light", without(ColourAugmentation { uneven_light: 0.0, ..colour })),
        ("no-shot-noise", without(ColourAugmentation { shot_noise: 0.0, ..colour })),
        ("no-jpeg", without(ColourAugmentation { jpeg: 0.0, ..colour })),
        ("none-of-colour", without(ColourAugmentation::OFF)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_lacks_something_and_has_a_name_of_its_own() {
        let all = Augmentation {
            geometry: Switch::On,
            min_nucleus_px: 12.0,
            max_nucleus_px: 48.0,
            focus: crate::Focus { share: 0.5, nucleus_px: 24.0, spread: 0.16 },
            on_nuclei: 0.9,
            elastic: 0.3,
            touching: 0.3,
            colour: ColourAugmentation::DEFAULT,
        };
        let variants = variants(all, 24.0);
        for (at, (name, augmentation)) in variants.iter().enumerate() {
            assert_eq!(*augmentation == all, at == 0, "{name}");
            let alike = variants.iter().filter(|other| other.0 == *name || other.1 == *augmentation);
            assert_eq!(alike.count(), 1, "{name}");
        }
    }
}
