//! Stacks: plane selection, and the planes, channels and pixel size in OME-XML and ImageJ metadata.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

use thiserror::Error;

use crate::units::PixelSize;

/// The plane to read from a file with several. The default is the first plane of the first channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaneSelection {
    /// Among the depths and times of a channel.
    pub plane: PlaneChoice,
    /// Among the channels.
    pub channel: Option<ChannelChoice>,
}

/// The plane within a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlaneChoice {
    /// The first.
    #[default]
    First,
    /// By number, from 1.
    Number(NonZeroU32),
    /// Maximum projection of all planes.
    MaximumProjection,
}

/// The channel, by number from 1 or by its name in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelChoice {
    /// Its number, from 1.
    Number(NonZeroU32),
    /// Its name, ignoring case.
    Name(String),
}

/// A text that is not a plane.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is neither a plane's number from 1 nor max")]
pub struct PlaneChoiceError(String);

impl FromStr for PlaneChoice {
    type Err = PlaneChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "max" => Ok(Self::MaximumProjection),
            text => text.parse().map(Self::Number).map_err(|_| PlaneChoiceError(text.to_owned())),
        }
    }
}

impl From<&str> for ChannelChoice {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number)
    }
}

/// The file does not have this plane or channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaneError {
    /// No plane of that number.
    #[error("there is no plane {wanted}: the file has {planes}")]
    Plane {
        /// The number asked for.
        wanted: NonZeroU32,
        /// Planes of a channel.
        planes: u32,
    },
    /// No channel of that number or name.
    #[error("there is no channel {wanted}: the file has {channels}")]
    Channel {
        /// The number or name asked for.
        wanted: String,
        /// The channels, by number and name.
        channels: String,
    },
}

/// The planes and channels of a file, and which one was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneSummary {
    /// Planes of a channel: depths times times.
    pub planes: u32,
    /// The channels' names, or numbers if unnamed.
    pub channels: Vec<String>,
    /// Number of the channel that was read, from 1.
    pub channel: u32,
    /// Number of the plane that was read, from 1; `None` for the projection.
    pub plane: Option<u32>,
}

impl fmt::Display for PlaneSummary {
    /// `11 planes: read plane 1; --plane N or --plane max chooses another`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.channels.len() > 1;
        if several {
            write!(f, "{} channels ({})", self.channels.len(), self.channels.join(", "))?;
        }
        if self.planes > 1 {
            write!(f, "{}{} planes", if several { ", each of " } else { "" }, self.planes)?;
        }
        f.write_str(": read ")?;
        if several {
            write!(f, "channel {}", self.channel)?;
        }
        if self.planes > 1 {
            f.write_str(if several { ", " } else { "" })?;
            match self.plane {
                Some(plane) => write!(f, "plane {plane}")?,
                None => f.write_str("the maximum of all planes")?,
            }
        }
        f.write_str(match (several, self.planes > 1) {
            (true, true) => "; --channel and --plane choose others",
            (true, false) => "; --channel chooses another",
            _ => "; --plane N or --plane max chooses another",
        })
    }
}

/// The planes of a file, as its description arranges them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stack {
    /// Channel names; empty if unnamed.
    channels: Vec<String>,
    /// Planes of a channel.
    planes: u32,
    /// Layout of the channels.
    order: Order,
    /// Micrometers per pixel, or the divisor of pixels per unit.
    pixel_size: Option<StatedSize>,
}

/// Layout of the channels of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// In the samples of each page.
    Bands,
    /// In pages, with these strides of channels and planes.
    Pages { channel_step: u32, runs: [(u32, u32); 2] },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum StatedSize {
    Micrometres(f64),
    /// ImageJ: micrometres of the unit in which XResolution counts pixels.
    Unit(f64),
}

/// The pages to read, and how.
pub(super) struct Chosen {
    pub(super) pages: Vec<usize>,
    pub(super) band: Option<u32>,
    pub(super) summary: Option<PlaneSummary>,
}

/// The stack of a format with a single plane.
pub(super) fn single() -> Stack {
    Stack::plain(1, 1, Vec::new(), None)
}

impl Stack {
    /// Arranges `pages` with `bands` channels each by their description.
    pub(super) fn of(description: String, pages: usize, bands: u32) -> Self {
        let pages = pages as u32;
        let known = if description.starts_with("ImageJ=") {
            Some(imagej(&description))
        } else if description.contains("<OME") {
            ome(&description)
        } else {
            None
        };
        let Some(Described { names, sizes, pixel_size }) = known else {
            return Self::plain(pages, bands, Vec::new(), None);
        };
        let [(_, channels), ..] = sizes.sorted_by_axis();
        let all = sizes.0.iter().map(|&(_, count)| count).fold(1_u32, u32::saturating_mul);
        if bands == 1 && all == pages {
            let step = |axis: Axis| {
                sizes.0.iter().take_while(|&&(of, _)| of != axis).map(|&(_, count)| count).product::<u32>()
            };
            let runs = [Axis::Depth, Axis::Time].map(|axis| (step(axis), sizes.count(axis)));
            let order = Order::Pages { channel_step: step(Axis::Channel), runs };
            let planes = runs[0].1 * runs[1].1;
            return Self { channels: named(channels, names), planes, order, pixel_size };
        }
        Self::plain(pages, bands, names, pixel_size)
    }

    /// Pages without a description, or contradicting it, are planes.
    fn plain(pages: u32, bands: u32, names: Vec<String>, pixel_size: Option<StatedSize>) -> Self {
        let order = match bands {
            1 => Order::Pages { channel_step: 0, runs: [(1, pages), (0, 1)] },
            _ => Order::Bands,
        };
        Self { channels: named(bands, names), planes: pages, order, pixel_size }
    }

    /// The pages of a selection.
    pub(super) fn choose(&self, selection: &PlaneSelection) -> Result<Chosen, PlaneError> {
        let label = |index: usize| match self.channels[index].as_str() {
            "" => (index + 1).to_string(),
            name => name.to_owned(),
        };
        let channel = match &selection.channel {
            None => Some(0),
            Some(ChannelChoice::Number(number)) => {
                Some(number.get() as usize - 1).filter(|&index| index < self.channels.len())
            }
            Some(ChannelChoice::Name(name)) => {
                self.channels.iter().position(|channel| channel.eq_ignore_ascii_case(name))
            }
        };
        let labels = || (0..self.channels.len()).map(label).collect::<Vec<_>>();
        let channel = channel.ok_or_else(|| PlaneError::Channel {
            wanted: match &selection.channel {
                Some(ChannelChoice::Name(name)) => name.clone(),
                Some(ChannelChoice::Number(number)) => number.to_string(),
                None => String::new(),
            },
            channels: labels().join(", "),
        })?;
        let plane = match selection.plane {
            PlaneChoice::First => Some(0),
            PlaneChoice::MaximumProjection => None,
            PlaneChoice::Number(wanted) if wanted.get() <= self.planes => Some(wanted.get() - 1),
            PlaneChoice::Number(wanted) => return Err(PlaneError::Plane { wanted, planes: self.planes }),
        };
        let page = |plane: u32| match self.order {
            Order::Bands => plane as usize,
            Order::Pages { channel_step, runs: [(depth_step, depths), (time_step, _)] } => {
                let (depth, time) = (plane % depths, plane / depths);
                (channel as u32 * channel_step + depth * depth_step + time * time_step) as usize
            }
        };
        let pages = match plane {
            Some(plane) => Vec::from([page(plane)]),
            None => (0..self.planes).map(page).collect(),
        };
        let band = (self.order == Order::Bands).then_some(channel as u32);
        let summary = (self.planes > 1 || self.channels.len() > 1).then(|| PlaneSummary {
            planes: self.planes,
            channels: labels(),
            channel: channel as u32 + 1,
            plane: plane.map(|plane| plane + 1),
        });
        Ok(Chosen { pages, band, summary })
    }

    /// Micrometers per pixel horizontally, if the file states it.
    pub(super) fn pixel_size(&self, pixels_per_unit: Option<f64>) -> Option<PixelSize> {
        let micrometres = match self.pixel_size? {
            StatedSize::Micrometres(size) => size,
            StatedSize::Unit(micrometres) => micrometres / pixels_per_unit.filter(|&pixels| pixels > 0.0)?,
        };
        PixelSize::try_from(micrometres as f32).ok()
    }
}

/// As many names as channels.
fn named(channels: u32, mut names: Vec<String>) -> Vec<String> {
    names.resize(channels.max(1) as usize, String::new());
    names
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Channel,
    Depth,
    Time,
}

/// Axes with their lengths, the one that varies fastest first.
struct Sizes([(Axis, u32); 3]);

impl Sizes {
    fn count(&self, axis: Axis) -> u32 {
        self.0.iter().find(|&&(of, _)| of == axis).map_or(1, |&(_, count)| count)
    }

    fn sorted_by_axis(&self) -> [(Axis, u32); 3] {
        [Axis::Channel, Axis::Depth, Axis::Time].map(|axis| (axis, self.count(axis)))
    }
}

/// The content of a description.
struct Described {
    names: Vec<String>,
    sizes: Sizes,
    pixel_size: Option<StatedSize>,
}

/// ImageJ's `key=value` lines; its planes always run through channels, then depths, then times.
fn imagej(description: &str) -> Described {
    let value = |key: &str| {
        description.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::trim))
    };
    let count = |key: &str| value(key).and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    let unit = value("unit").and_then(micrometres_of_unit);
    let [channels, depths, times] = ["channels", "slices", "frames"].map(count);
    Described {
        names: Vec::new(),
        sizes: Sizes([(Axis::Channel, channels), (Axis::Depth, depths), (Axis::Time, times)]),
        pixel_size: unit.map(StatedSize::Unit),
    }
}

/// The first image of OME-XML (the OME data model, 2016-06).
fn ome(description: &str) -> Option<Described> {
    let document = roxmltree::Document::parse(description.trim_matches('\0')).ok()?;
    let pixels = document.descendants().find(|node| node.has_tag_name_of("Pixels"))?;
    let count = |name: &str| pixels.attribute(name).and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
    let channels: Vec<_> = pixels.children().filter(|node| node.has_tag_name_of("Channel")).collect();
    let in_samples = channels.first().and_then(|channel| channel.attribute("SamplesPerPixel")?.parse().ok());
    // Channels of three samples, such as a color camera's, are one plane.
    let channel_count = count("SizeC") / in_samples.unwrap_or(1_u32).max(1);
    let axes: Vec<(Axis, u32)> = pixels
        .attribute("DimensionOrder")
        .unwrap_or("XYCZT")
        .chars()
        .filter_map(|axis| match axis {
            'C' => Some((Axis::Channel, channel_count.max(1))),
            'Z' => Some((Axis::Depth, count("SizeZ"))),
            'T' => Some((Axis::Time, count("SizeT"))),
            _ => None,
        })
        .collect();
    let size = pixels.attribute("PhysicalSizeX").and_then(|text| text.parse::<f64>().ok());
    let unit = micrometres_of_unit(pixels.attribute("PhysicalSizeXUnit").unwrap_or("µm"));
    Some(Described {
        names: channels.iter().map(|node| node.attribute("Name").unwrap_or_default().to_owned()).collect(),
        sizes: Sizes(axes.try_into().ok()?),
        pixel_size: size.zip(unit).map(|(size, unit)| StatedSize::Micrometres(size * unit)),
    })
}

/// Micrometres of a unit of length; ImageJ writes the micro sign as an escape, too.
fn micrometres_of_unit(unit: &str) -> Option<f64> {
    Some(match unit {
        "µm" | "μm" | "um" | "micron" | "microns" | "micrometer" | "micrometre" | "\\u00B5m" => 1.0,
        "nm" | "nanometer" | "nanometre" => 1e-3,
        "mm" | "millimeter" | "millimetre" => 1e3,
        "cm" | "centimeter" | "centimetre" => 1e4,
        "m" | "meter" | "metre" => 1e6,
        "inch" | "in" => 25_400.0,
        _ => return None,
    })
}

/// Comparison of a tag's name whatever its namespace: OME's changes with every edition.
trait TagName {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl TagName for roxmltree::Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn pages(stack: &Stack, channel: u32, plane: u32) -> Vec<usize> {
        let selection = PlaneSelection {
            plane: PlaneChoice::Number(number(plane)),
            channel: Some(ChannelChoice::Number(number(channel))),
        };
        stack.choose(&selection).unwrap().pages
    }

    #[test]
    fn pages_without_a_description_are_planes() {
        let stack = Stack::of(String::new(), 11, 1);
        assert_eq!(pages(&stack, 1, 6), [5]);
        let chosen = stack.choose(&PlaneSelection::default()).unwrap();
        let said = chosen.summary.unwrap().to_string();
        assert_eq!(said, "11 planes: read plane 1; --plane N or --plane max chooses another");
        let all = PlaneSelection { plane: PlaneChoice::MaximumProjection, channel: None };
        assert_eq!(stack.choose(&all).unwrap().pages.len(), 11);
        assert!(Stack::of(String::new(), 1, 1).choose(&all).unwrap().summary.is_none());
    }

    #[test]
    fn imagej_runs_through_channels_first() {
        let text = "ImageJ=1.54f\nimages=12\nchannels=2\nslices=3\nframes=2\nhyperstack=true\nunit=micron\n";
        let stack = Stack::of(text.into(), 12, 1);
        assert_eq!(
            (pages(&stack, 2, 1), pages(&stack, 1, 2), pages(&stack, 2, 6)),
            (vec![1], vec![2], vec![11])
        );
        let size = stack.pixel_size(Some(2.0)).unwrap();
        assert!((size.get() - 0.5).abs() < 1e-6);
        assert!(stack.pixel_size(None).is_none());
    }

    #[test]
    fn ome_names_channels_and_orders_planes() {
        let text = r#"<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
            <Image ID="Image:0"><Pixels DimensionOrder="XYZCT" SizeC="2" SizeZ="3" SizeT="1" SizeX="4" SizeY="4"
            PhysicalSizeX="325" PhysicalSizeXUnit="nm"><Channel ID="Channel:0:0" Name="Brightfield"/>
            <Channel ID="Channel:0:1" Name="DAPI"/></Pixels></Image></OME>"#;
        let stack = Stack::of(text.into(), 6, 1);
        assert_eq!((pages(&stack, 1, 3), pages(&stack, 2, 1)), (vec![2], vec![3]));
        let by_name = PlaneSelection { channel: Some("dapi".into()), ..Default::default() };
        let chosen = stack.choose(&by_name).unwrap();
        assert_eq!(chosen.pages, [3]);
        assert_eq!(
            chosen.summary.unwrap().to_string(),
            "2 channels (Brightfield, DAPI), each of 3 planes: read channel 2, plane 1; --channel and --plane choose \
             others"
        );
        let absent = PlaneSelection { channel: Some("GFP".into()), ..Default::default() };
        let error = stack.choose(&absent).err().unwrap().to_string();
        assert_eq!(error, "there is no channel GFP: the file has Brightfield, DAPI");
        assert!((stack.pixel_size(None).unwrap().get() - 0.325).abs() < 1e-6);
    }

    #[test]
    fn a_description_that_contradicts_the_pages_is_not_followed() {
        let stack = Stack::of("ImageJ=1\nimages=9\nslices=9\n".into(), 2, 1);
        assert_eq!(pages(&stack, 1, 2), [1]);
        let wanted = PlaneSelection { plane: PlaneChoice::Number(number(3)), channel: None };
        assert_eq!(stack.choose(&wanted).err(), Some(PlaneError::Plane { wanted: number(3), planes: 2 }));
    }

    #[test]
    fn words_for_planes() {
        assert_eq!("max".parse(), Ok(PlaneChoice::MaximumProjection));
        assert_eq!("3".parse(), Ok(PlaneChoice::Number(number(3))));
        assert!("0".parse::<PlaneChoice>().is_err() && "first".parse::<PlaneChoice>().is_err());
        assert_eq!(ChannelChoice::from("2"), ChannelChoice::Number(number(2)));
        assert_eq!(ChannelChoice::from("DAPI"), ChannelChoice::Name("DAPI".into()));
    }
}
