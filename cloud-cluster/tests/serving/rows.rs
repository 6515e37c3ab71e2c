//! The state that vehicles have, and a component that cannot read it: refused when it is deployed, before any edge knows.

use crate::client::Version;
use crate::cloud::Cloud;
use crate::guest::Guest;
use crate::rules::{deploy, upload};
use serde_json::json;

/// `migrate` answers the rows as they came.
const AS_THEY_ARE: &str =
    "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store offset=4 (i32.const 64) (local.get $rows))
    (i32.store offset=8 (i32.const 64) (local.get $rows_len)) (i32.const 64)";

fn guest(version: &'static str, state_version: u32) -> Guest {
    Guest { version, state_version, migrate: AS_THEY_ARE.into(), ..Guest::default() }
}

#[tokio::test]
async fn a_component_that_does_not_read_the_rows_there_are_is_refused_at_the_deployment() {
    let cloud = Cloud::start().await;
    let versions = [
        ("1.0.0", guest("1.0.0", 1)),
        ("2.0.0", guest("2.0.0", 2)),
        ("2.1.0", Guest { migrates_from: 1, migrate: "unreachable".into(), ..guest("2.1.0", 2) }),
        ("2.2.0", Guest { migrates_from: 1, ..guest("2.2.0", 2) }),
    ];
    for (version, guest) in versions {
        assert_eq!(upload(&cloud, Version::Http2, guest.component()).await.0, 201, "{version}");
    }
    let put = async |version: &str| deploy(&cloud, "zones", &format!("test-rule@{version}"), &json!({})).await;
    assert_eq!(put("1.0.0").await.0, 201);
    for (version, why) in [("2.0.0", "does not read those of version 1"), ("2.1.0", "trapped")] {
        let (status, problem) = put(version).await;
        assert_eq!((status, problem["type"].as_str()), (422, Some("urn:drover:problem:plugin_refused")), "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/plugin", "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(why) && detail.contains("test-rule@1.0.0"), "{detail}");
    }
    assert_eq!(cloud.registry.deployments().borrow().deployments[0].revision, 1, "edges heard of none of it");
    // Under another name there is no state to take over.
    assert_eq!(deploy(&cloud, "others", "test-rule@2.0.0", &json!({})).await.0, 201);
    let (status, deployed) = put("2.2.0").await;
    assert_eq!((status, &deployed["revision"]), (200, &json!(2)), "{deployed}");
    // Back to what ran before: edges have kept its rows.
    assert_eq!(put("1.0.0").await.0, 200);
}
