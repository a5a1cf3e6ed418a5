//! The ready message, with what the station runs with.

use std::sync::{Mutex, PoisonError};

use shared::wire::{CameraState, ModelDigest};

use crate::link::PortState;

/// Reports once that the station is ready, after it has tried camera and port.
pub struct ReadyNotifier {
    first: Mutex<First>,
    port_name: String,
    model: ModelDigest,
}

type OnReady = Box<dyn FnOnce(&str) + Send>;

struct First {
    port: Option<PortState>,
    camera: Option<String>,
    on_ready: Option<OnReady>,
}

impl ReadyNotifier {
    /// For a station on that port with that model.
    pub fn new(port_name: &str, model: ModelDigest, on_ready: impl FnOnce(&str) + Send + 'static) -> Self {
        let first = First { port: None, camera: None, on_ready: Some(Box::new(on_ready)) };
        Self { first: Mutex::new(first), port_name: port_name.to_owned(), model }
    }

    /// The port was tried.
    pub fn port(&self, port: PortState) {
        self.update(|first| first.port = Some(port));
    }

    /// The camera was tried.
    pub fn camera(&self, state: CameraState, name: &str) {
        let shown = match state {
            CameraState::Running => name.to_owned(),
            CameraState::Finished => format!("{name} (finished)"),
            CameraState::Absent => "absent".to_owned(),
        };
        self.update(|first| first.camera = Some(shown));
    }

    fn update(&self, update: impl FnOnce(&mut First)) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.on_ready.is_none() {
            return;
        }
        update(&mut first);
        if let (Some(port), Some(camera)) = (first.port, first.camera.as_ref()) {
            let absent = if port == PortState::Absent { " (absent)" } else { "" };
            let line = format!(
                "station ready: port {}{absent}, camera {camera}, model {}",
                self.port_name, self.model
            );
            if let Some(on_ready) = first.on_ready.take() {
                on_ready(&line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn reports_once_when_both_were_looked_for() {
        let (send, lines) = channel();
        let readiness = ReadyNotifier::new("/dev/ttyX", ModelDigest([0xAB; 32]), move |line: &str| {
            send.send(line.to_owned()).unwrap();
        });
        readiness.port(PortState::Absent);
        readiness.port(PortState::Open);
        assert!(lines.try_recv().is_err());
        readiness.camera(CameraState::Running, "simulated");
        readiness.camera(CameraState::Absent, "");
        let expected = "station ready: port /dev/ttyX, camera simulated, model abababababababab";
        assert_eq!(lines.iter().collect::<Vec<_>>(), [expected]);
    }
}
