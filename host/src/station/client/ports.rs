//! The serial ports of this machine.

use std::path::Path;

use serialport::SerialPortType;

/// An available serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFound {
    /// Its path, such as `/dev/ttyUSB0`.
    pub path: String,
    /// The connected device, if it identifies itself.
    pub product: Option<String>,
    /// Whether it is on USB, as an adapter to a station is.
    pub kind: PortKind,
}

/// How a port is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// By USB.
    Usb,
    /// On the board or in any other way.
    Other,
}

/// The available ports, by path.
pub fn list_ports() -> Vec<PortFound> {
    // serialport takes it for granted that Linux shows its devices.
    if !Path::new("/sys/class/tty").is_dir() {
        return Vec::new();
    }
    let mut ports: Vec<PortFound> = serialport::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| match port.port_type {
            SerialPortType::UsbPort(usb) => {
                PortFound { path: port.port_name, product: usb.product, kind: PortKind::Usb }
            }
            _ => PortFound { path: port.port_name, product: None, kind: PortKind::Other },
        })
        .collect();
    ports.sort_by(|a, b| a.path.cmp(&b.path));
    ports
}

/// The ports' paths as text.
pub fn describe_ports(ports: &[PortFound]) -> String {
    if ports.is_empty() {
        return "no serial ports found".to_owned();
    }
    let named: Vec<String> = ports
        .iter()
        .map(|port| match &port.product {
            Some(product) => format!("{} ({product})", port.path),
            None => port.path.clone(),
        })
        .collect();
    format!("there is {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_with_what_is_plugged_in() {
        let port = |path: &str, product: Option<&str>| PortFound {
            path: path.into(),
            product: product.map(Into::into),
            kind: PortKind::Usb,
        };
        assert_eq!(describe_ports(&[]), "no serial ports found");
        let ports = [port("/dev/ttyS0", None), port("/dev/ttyUSB0", Some("FT232R"))];
        assert_eq!(describe_ports(&ports), "there is /dev/ttyS0, /dev/ttyUSB0 (FT232R)");
    }
}
