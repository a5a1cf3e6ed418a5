//! Commands of `nuclei-host` that `nuclei-train` carries out, as their user sees them: one program.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{program, text, until};
use crate::workdir::{Workdir, assert_prints};

/// What a help text says about a command, in one line: a program with longer names breaks it elsewhere.
fn listed(help: &str, command: &str) -> String {
    let mut lines = help.lines().skip_while(|line| line.split_whitespace().next() != Some(command));
    let first = lines.next().unwrap_or_else(|| panic!("{command} is not in\n{help}"));
    let more = lines.take_while(|line| line.starts_with("    "));
    let words = first.split_whitespace().skip(1).chain(more.flat_map(str::split_whitespace));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_has_its_help_in_one_place() {
    let workdir = Workdir::new();
    let own = text(&workdir.run("--help", 0).stdout);
    let passed_on = Command::new(program("nuclei-train")).arg("--help").output().unwrap();
    let passed_on = text(&passed_on.stdout);
    for command in ["train", "export", "quantize", "compare", "split", "bench"] {
        assert_eq!(listed(&own, command), listed(&passed_on, command));
        let help = text(&workdir.run(&format!("{command} --help"), 0).stdout);
        assert!(help.contains(&format!("Usage: nuclei-host {command}")), "{help}");
        assert!(help.contains("Example"), "{help}");
        assert_eq!(text(&workdir.run(&format!("help {command}"), 0).stdout), help);
        let wrong = workdir.run(&format!("{command} --no-such-flag"), 2);
        assert_prints(&wrong, &["--no-such-flag", &format!("Usage: nuclei-host {command}")]);
    }
}

#[test]
fn a_program_that_was_not_built_is_named_with_the_command_that_builds_it() {
    let workdir = Workdir::new();
    std::fs::copy(program("nuclei-host"), workdir.path("nuclei-host")).unwrap();
    let mut alone = Command::new(workdir.path("nuclei-host"));
    let output = alone.args(["train", "--data", "bowl"]).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_prints(&output, &["nuclei-train is neither", "cargo build --release --locked --workspace"]);
    let mut doctor = Command::new(workdir.path("nuclei-host"));
    let output = doctor.arg("doctor").env("PATH", "").output().unwrap();
    assert!(text(&output.stdout).contains("nuclei-train is neither"), "{output:?}");
}

#[test]
fn ctrl_c_reaches_training_which_keeps_its_run() {
    let workdir = Workdir::new();
    workdir.bowl("bowl");
    let words = "train --backend cpu --data bowl --run run --width 4 --depth 2 --crop 64 --batch 4 \
                 --epochs 100000 --epoch-crops 16 --validation 0.4";
    let mut command = workdir.command(words);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("an epoch is over", || workdir.path("run/epochs.csv").exists().then_some(()));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_prints(&output, &["nuclei-host train --resume --run run"]);
    assert!(workdir.path("run/last.checkpoint").exists());
}
