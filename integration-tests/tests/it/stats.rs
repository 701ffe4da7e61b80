//! `stats` tells how large snapshots are, and what that takes.

use serde_json::Value;

use crate::support::{Lab, lab::pseudo_random};

fn stats(lab: &Lab, args: &[&str]) -> Value {
    lab.run([&["stats", "--json"], args].concat()).expect(0).summary()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[test]
fn figures_of_the_repository_and_of_snapshots() {
    let lab = Lab::new();
    lab.write("source/a", &pseudo_random(1_000_000, 1));
    lab.write("source/b", &pseudo_random(1_000_000, 1));
    lab.write("source/zeros", &vec![7; 3_000_000]);
    lab.backup_init();
    lab.write("source/c", &pseudo_random(500_000, 2));
    lab.backup();

    let all = stats(&lab, &[]);
    assert_eq!((number(&all, "snapshots"), number(&all, "files")), (2, 7));
    assert_eq!(number(&all, "size_bytes"), 10_500_000);
    let unique = number(&all, "unique_bytes");
    assert!((1_500_000..5_000_000).contains(&unique), "{all}");
    assert!(all["dedup_ratio"].as_f64().unwrap() > 2.0, "{all}");
    assert!(all["compression_ratio"].as_f64().unwrap() > 1.2, "{all}");
    assert!(number(&all["requests"], "list") > 0);
    let whole = &all["repository"];
    assert!(number(whole, "pack_bytes") >= number(&all, "stored_bytes"));
    assert!(number(whole, "unused_bytes") < 100_000, "{all}");

    let newest = stats(&lab, &["latest"]);
    assert_eq!((number(&newest, "snapshots"), &newest["repository"]), (1, &Value::Null));
    assert_eq!(number(&newest, "unique_bytes"), unique);
    let first = stats(&lab, &["latest~1"]);
    assert_eq!(number(&first, "unique_bytes"), unique - 500_000);

    let text = lab.run(["stats"]).expect(0).text();
    for figure in ["snapshots", "deduplication", "compression", "unused", "requests: "] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
    lab.run(["forget", "latest"]).expect(0);
    let left = stats(&lab, &[]);
    assert!(number(&left["repository"], "unused_bytes") > 500_000, "{left}");
    lab.run(["stats", "--host", "nobody"]).expect(1);
    lab.run(["stats", "0123456789"]).expect(1);
}
