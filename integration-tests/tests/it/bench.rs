//! The measuring tools work: every scenario that the binary can do runs to its end, and what is
//! restored is whole. How fast it is stands in no test.

use std::{fs, path::Path, process::Command};

use crate::{
    support::{Lab, Outcome, lab::binary},
    tidy::project_root,
};

fn python(lab: &Lab, script: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new("python3");
    lab.isolate(&mut command);
    command
        .env("BENCH_PATH", binary().parent().map(Path::to_path_buf).unwrap())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(project_root().join("bench").join(script))
        .args(args);
    Outcome::of(&mut command)
}

#[test]
fn the_benchmark_runs_every_scenario_that_is_built() {
    let lab = Lab::new();
    let make = ["create", "corpus", "--source", "synthetic", "--scale", "0.003"];
    python(&lab, "gen_corpus.py", &[&make[..], &["--only", "small,random"]].concat()).expect(0);
    let run = "run --tools strongroom --corpora small,random --rounds 1 --base corpus --work work \
               --out results";
    python(&lab, "bench.py", &run.split_whitespace().collect::<Vec<_>>()).expect(0);
    let results = fs::read_to_string(lab.path("results")).unwrap();
    let rows: Vec<serde_json::Value> =
        results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows {
        let is_built = row["scenario"] != "forget_prune";
        assert_eq!(row["code"] == 0, is_built, "{row}");
        assert_ne!(row["is_whole"], false, "{row}");
    }
    assert_eq!(rows.iter().filter(|row| row["is_whole"] == true).count(), 2, "{results}");
    let report = python(&lab, "bench.py", &["report", "results"]).expect(0).text();
    assert!(report.contains("| small | first | strongroom | 1 |"), "{report}");
    assert!(!report.contains("failed"), "{report}");
}
