//! Plays images into Linux's virtual camera, vivid, for tests/emulator: a station that captures from it sees
//! them bit for bit. Also sets vivid's controls, which inject faults.
//!
//! ```sh
//! vivid_player source_kind OUTPUT CAPTURE       # shows each image whose path it reads, and says "shown PATH"
//! vivid_player set CAPTURE NAME VALUE    # sets the control of that name
//! ```
//!
//! vivid is to be loaded with `n_devs=1 node_types=0x101 num_inputs=1 input_types=3 num_outputs=1 output_types=1`: an
//! HDMI input that shows what its HDMI output is given. Linux's `Documentation/admin-guide/media/vivid.rst` documents
//! each control.

use std::error::Error;
use std::ffi::CStr;
use std::fs;
use std::io::BufRead as _;

use shared::{decode_image, rgb_samples};
use v4l::buffer::Type;
use v4l::control::{Control, Value};
use v4l::io::mmap::Stream;
use v4l::io::traits::{CaptureStream, OutputStream};
use v4l::v4l_sys::{V4L2_CTRL_FLAG_NEXT_CTRL, v4l2_queryctrl};
use v4l::video::{Capture, Output};
use v4l::{Device, Format, FourCC};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const BUFFERS: u32 = 4;
/// With more copies of an image than there are buffers, one of them was on show when the last is taken.
const COPIES: u32 = 2 * BUFFERS;
/// `V4L2_FIELD_NONE`: progressive.
const FIELD_NONE: u32 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["source_kind", output, capture] => source_kind(output, capture),
        ["set", capture, name, value] => set(&Device::with_path(capture)?, name, value.parse()?),
        _ => Err("vivid_player source_kind OUTPUT CAPTURE, or vivid_player set CAPTURE NAME VALUE".into()),
    }
}

fn source_kind(output: &str, capture: &str) -> Result<(), Box<dyn Error>> {
    let format = Format::new(WIDTH, HEIGHT, FourCC::new(b"RGB3"));
    let (shown_to, seen_by) = (Device::with_path(output)?, Device::with_path(capture)?);
    set_timings(&shown_to)?;
    set_timings(&seen_by)?;
    let (given, taken) = (Output::set_format(&shown_to, &format)?, Capture::set_format(&seen_by, &format)?);
    for set in [&given, &taken] {
        if (set.width, set.height, set.fourcc) != (WIDTH, HEIGHT, format.fourcc) {
            return Err(format!("vivid takes {set} for {format}").into());
        }
    }
    set(&seen_by, "OSD Text Mode", 2)?;
    set(&seen_by, "Loop Video", 1)?;
    drop(seen_by);
    let mut screen = Stream::with_buffers(&shown_to, Type::VideoOutput, BUFFERS)?;
    // The bindings wait for a buffer that was shown before they give the first: some must be under way.
    for index in 1..BUFFERS as usize {
        CaptureStream::queue(&mut screen, index)?;
    }
    println!("player ready");
    for path in std::io::stdin().lock().lines() {
        let path = path?;
        show(&mut screen, &fs::read(&path)?)?;
        println!("shown {path}");
    }
    Ok(())
}

fn show(screen: &mut Stream<'_>, file: &[u8]) -> Result<(), Box<dyn Error>> {
    let image = decode_image(file)?;
    if (image.width(), image.height()) != (WIDTH, HEIGHT) {
        return Err(format!("pictures must be {WIDTH}x{HEIGHT}").into());
    }
    let frame = rgb_samples(&image);
    for _ in 0..COPIES {
        let (bytes, meta) = OutputStream::next(screen)?;
        bytes.get_mut(..frame.len()).ok_or("vivid's buffers are too small")?.copy_from_slice(&frame);
        (meta.bytesused, meta.field) = (frame.len() as u32, FIELD_NONE);
    }
    Ok(())
}

/// Sets the control of a name. vivid has controls of kinds that the bindings do not know: their list is of no use.
fn set(device: &Device, name: &str, value: i64) -> Result<(), Box<dyn Error>> {
    // SAFETY: zeros are a valid v4l2_queryctrl, which is plain data.
    let mut control: v4l2_queryctrl = unsafe { std::mem::zeroed() };
    loop {
        control.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
        let request = v4l::v4l2::vidioc::VIDIOC_QUERYCTRL;
        // SAFETY: the request reads and writes one v4l2_queryctrl, which outlives the call.
        unsafe { v4l::v4l2::ioctl(device.handle().fd(), request, (&raw mut control).cast()) }
            .map_err(|_| format!("there is no control {name:?}"))?;
        if CStr::from_bytes_until_nul(&control.name)?.to_str()? == name {
            return Ok(device.set_control(Control { id: control.id, value: Value::Integer(value) })?);
        }
    }
}

/// `VIDIOC_S_DV_TIMINGS`, which the bindings lack.
const SET_DV_TIMINGS: v4l::v4l2::vidioc::_IOC_TYPE = 0xC084_5657;

/// Sets CEA-861's 640x480 at 59.94 Hz: `struct v4l2_dv_timings` of `linux/videodev2.h`, as words.
fn set_timings(device: &Device) -> std::io::Result<()> {
    let mut timings = [0u32; 33];
    // Type BT.656/1120; width, height, progressive, polarities, pixel clock; porches and syncs across and down.
    timings[..13].copy_from_slice(&[0, WIDTH, HEIGHT, 0, 0, 25_175_000, 0, 16, 96, 48, 10, 2, 33]);
    // SAFETY: the request reads and writes 132 bytes, the size of the array, which outlives the call.
    unsafe { v4l::v4l2::ioctl(device.handle().fd(), SET_DV_TIMINGS, timings.as_mut_ptr().cast()) }
}
