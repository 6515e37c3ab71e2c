//! The program itself.

use std::process::Command;

fn check(config: &str) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge.toml");
    std::fs::write(&path, config).unwrap();
    let program =
        Command::new(env!("CARGO_BIN_EXE_drover-edge")).arg("--config").arg(&path).arg("--check-config").output();
    let output = program.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_config_says_ok_or_what_to_change() {
    let good = r#"
data_dir = "data"
edge = "depot-1"
[device_link.http]
listen = "127.0.0.1:0"
[[device_link.credentials]]
username = "demo"
password_sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
tenant = "demo"
"#;
    assert_eq!(check(good), (Some(0), "ok\n".into(), String::new()));
    let cases = [
        (good.replace("tenant", "tennant"), ["line 9", "tennant", "`tenant`"]),
        (
            format!("{good}[observability]\ntrace_sample_ratio = 5"),
            ["line 11", "observability.trace_sample_ratio", "0 to 1"],
        ),
        (format!("{good}[actors]\nworkers = 1000"), ["line 11", "actors.workers", "0 to 256"]),
    ];
    for (config, parts) in cases {
        let (code, out, err) = check(&config);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        for part in parts {
            assert!(err.contains("edge.toml") && err.contains(part), "{part:?} in {err}");
        }
    }
}
