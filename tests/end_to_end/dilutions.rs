//! A dilution series from folders, recordings and tables.

use std::fs;

use shared::{LabelImage, encode_label_png};

use crate::harness::text;
use crate::workdir::{Workdir, assert_prints, json};

/// A field of this many nuclei of four pixels.
fn field(count: u32) -> Vec<u8> {
    let mut labels = vec![0; 200 * 100];
    for at in 0..count {
        let (x, y) = (2 + at % 60 * 3, 2 + at / 60 * 3);
        for [dx, dy] in [[0, 0], [1, 0], [0, 1], [1, 1]] {
            labels[((y + dy) * 200 + x + dx) as usize] = at + 1;
        }
    }
    encode_label_png(&LabelImage::new(200, 100, labels).unwrap()).unwrap()
}

#[test]
fn a_series_is_judged_from_folders_recordings_and_tables() {
    let workdir = Workdir::new();
    let steps = [
        (1, [402, 380, 415, 397]),
        (2, [204, 188, 199, 211]),
        (4, [95, 110, 101, 98]),
        (8, [52, 47, 55, 44]),
    ];
    let (mut words, mut table) = (String::new(), "dilution,field,count\n".to_owned());
    for (dilution, counts) in steps {
        for (at, count) in counts.into_iter().enumerate() {
            table += &format!("{dilution},{at},{count}\n");
            if dilution < 8 {
                workdir.write(&format!("d{dilution}/{at}.png"), &field(count));
            }
        }
        words += &match dilution {
            8 => " --at 8 eighth.jsonl".to_owned(),
            _ => format!(" --at {dilution} d{dilution}"),
        };
    }
    let line = |count: u32, trusted: bool| {
        format!(
            "{{\"frame\":{count},\"count\":{count},\"trusted\":{trusted},\"doubts\":[\"out of focus\"]}}\n"
        )
    };
    let lines: String = steps[3].1.into_iter().map(|count| line(count, true)).collect();
    workdir.write("eighth.jsonl", (lines + &line(999, false)).as_bytes());
    workdir.write("counts.csv", table.as_bytes());
    let output = workdir.run(&format!("dilution-series{words} --json --html series.html"), 0);
    assert_prints(&output, &["excluded: frame 999 of eighth.jsonl: out of focus"]);
    let judged = json(&output);
    assert_eq!((&judged["verdict"], &judged["steps"][3]["fields"]), (&"proportional".into(), &4.into()));
    assert_eq!(judged, json(&workdir.run("dilution-series --csv counts.csv --json", 0)));
    assert!((judged["slope"].as_f64().unwrap() / 400.0 - 1.0).abs() < 0.05, "{judged}");
    assert!(
        judged["r_squared"].as_f64().unwrap() > 0.99 && judged["index"].as_f64().unwrap() < 0.03,
        "{judged}"
    );
    let page = fs::read_to_string(workdir.path("series.html")).unwrap();
    assert!(page.contains("Counts follow the dilution") && page.contains("<svg"));
}

#[test]
fn a_saturating_counter_fails_the_check_with_a_plain_reason() {
    let workdir = Workdir::new();
    let mut table = "dilution,count\n".to_owned();
    for dilution in [1.0, 2.0, 4.0, 8.0, 16.0] {
        let truth = 400.0 / dilution;
        for off in [-1.0, -0.5, 0.0, 0.5, 1.0] {
            let count = truth / (1.0 + truth / 800.0) + off * f64::sqrt(truth);
            table += &format!("{dilution},{count:.0}\n");
        }
    }
    workdir.write("counts.csv", table.as_bytes());
    let output = workdir.run("dilution-series --csv counts.csv", 3);
    let message = text(&output.stdout);
    assert!(
        message.contains("do not follow the dilution") && message.contains("dilute further"),
        "{message}"
    );
    assert!(message.contains("caution: proportional does not mean accurate"), "{message}");
}

#[test]
fn what_makes_no_series_is_named() {
    let workdir = Workdir::new();
    workdir.write("one/a.png", &field(5));
    workdir.write("bad.csv", b"times,n\n1,2\n");
    workdir.write("worse.csv", b"dilution,count\n1,2\n2,some\n");
    for (words, code, message) in [
        ("--at 1 one", 2, "at least two dilutions"),
        ("--at 0.5 one --at 1 one", 2, "\"0.5\" is not a dilution factor"),
        ("--at 1 none --at 2 one", 1, "none cannot be read"),
        ("--csv bad.csv", 1, "the columns dilution and count are missing"),
        ("--csv worse.csv", 1, "line 3"),
        ("", 2, "--at"),
    ] {
        assert_prints(&workdir.run(&format!("dilution-series {words}"), code), &[message]);
    }
}
