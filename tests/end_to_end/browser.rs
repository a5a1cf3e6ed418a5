//! A headless Chromium, driven by its DevTools protocol.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket, client};

use crate::harness::{Process, next_line, until};

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
pub struct Browser {
    socket: WebSocket<TcpStream>,
    session: String,
    asked: u64,
    _process: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one; `None`, with a message, if this machine has none.
    pub fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.iter().find_map(|name| in_path(name)) else {
            eprintln!("SKIPPED: no Chromium on this machine; apt-get install chromium");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command
            .args(
                "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars"
                    .split(' '),
            )
            .args("--disable-background-networking --disable-component-update --disable-sync".split(' '))
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let mut message = process.stderr();
        let address = loop {
            let line = next_line(&mut message).unwrap();
            if let Some(address) = line.strip_prefix("DevTools listening on ") {
                break address.to_owned();
            }
        };
        // Its other output must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut message, &mut std::io::sink()));
        let host = address.trim_start_matches("ws://").split('/').next().unwrap();
        let (socket, _) = client(&address, TcpStream::connect(host).unwrap()).unwrap();
        let mut browser =
            Self { socket, session: String::new(), asked: 0, _process: process, _profile: profile };
        let target = until("Chromium has a page", || {
            let targets = browser.ask("Target.getTargets", json!({}));
            let targets = targets["targetInfos"].as_array().unwrap();
            targets.iter().find(|target| target["type"] == "page").map(|page| page["targetId"].clone())
        });
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser.ask("Page.enable", json!({}));
        Some(browser)
    }

    /// The result of a protocol command.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    pub fn open(&mut self, address: &str) {
        self.ask("Page.navigate", json!({ "url": address }));
        until("the page is loaded", || (self.value("document.readyState") == "complete").then_some(()));
    }

    /// The result of a JavaScript expression, awaited.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Waits until a JavaScript expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        until(expression, || (self.value(expression) == true).then_some(()));
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", params);
    }

    /// Presses a key that types `text`.
    pub fn key(&mut self, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "text": text, "key": text }));
        }
    }

    /// Drags the middle of an element to the right, px.
    pub fn drag(&mut self, element: &str, by: f64) {
        let place = self.value(&format!(
            "(() => {{ const b = document.querySelector('{element} circle').getBoundingClientRect(); \
             return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
        let (x, y) = (place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
        for (kind, x) in [
            ("mousePressed", x),
            ("mouseMoved", x + by / 2.0),
            ("mouseMoved", x + by),
            ("mouseReleased", x + by),
        ] {
            let params =
                json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", params);
        }
    }

    /// Saves a screenshot as `name` in the folder given by NUCLEI_SCREENSHOTS, if set.
    pub fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("NUCLEI_SCREENSHOTS") else { return };
        let shot = self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(name), png).unwrap();
    }
}

/// A program of this machine.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|program| program.is_file())
}
