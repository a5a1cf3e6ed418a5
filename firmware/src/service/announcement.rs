//! The one line that says what the station works with.

use std::sync::{Mutex, PoisonError};

use shared::wire::{CameraState, ModelDigest};

use crate::link::Port;

/// Waits for the first word of camera and port, and then tells once.
pub struct Announcement {
    first: Mutex<First>,
    port_name: String,
    model: ModelDigest,
}

type Tell = Box<dyn FnOnce(&str) + Send>;

struct First {
    port: Option<Port>,
    camera: Option<String>,
    tell: Option<Tell>,
}

impl Announcement {
    /// For a station on that port with that model.
    pub fn new(port_name: &str, model: ModelDigest, tell: impl FnOnce(&str) + Send + 'static) -> Self {
        let first = First { port: None, camera: None, tell: Some(Box::new(tell)) };
        Self { first: Mutex::new(first), port_name: port_name.to_owned(), model }
    }

    /// The port was looked for.
    pub fn port(&self, port: Port) {
        self.note(|first| first.port = Some(port));
    }

    /// The camera was looked for.
    pub fn camera(&self, state: CameraState, name: &str) {
        let shown = match state {
            CameraState::Running => name.to_owned(),
            CameraState::Finished => format!("{name} (finished)"),
            CameraState::Absent => "absent".to_owned(),
        };
        self.note(|first| first.camera = Some(shown));
    }

    fn note(&self, note: impl FnOnce(&mut First)) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.tell.is_none() {
            return;
        }
        note(&mut first);
        if let (Some(port), Some(camera)) = (first.port, first.camera.as_ref()) {
            let absent = if port == Port::Absent { " (absent)" } else { "" };
            let line = format!(
                "station ready: port {}{absent}, camera {camera}, model {}",
                self.port_name, self.model
            );
            if let Some(tell) = first.tell.take() {
                tell(&line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn tells_once_when_both_were_looked_for() {
        let (send, lines) = channel();
        let announcement = Announcement::new("/dev/ttyX", ModelDigest([0xAB; 32]), move |line: &str| {
            send.send(line.to_owned()).unwrap();
        });
        announcement.port(Port::Absent);
        announcement.port(Port::Open);
        assert!(lines.try_recv().is_err());
        announcement.camera(CameraState::Running, "simulated");
        announcement.camera(CameraState::Absent, "");
        let expected = "station ready: port /dev/ttyX, camera simulated, model abababababababab";
        assert_eq!(lines.iter().collect::<Vec<_>>(), [expected]);
    }
}
