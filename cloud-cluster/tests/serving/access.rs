//! Who may see what.

use crate::client::{ALL, Version};
use crate::cloud::{Cloud, OPERATOR_KEY, OTHER_KEY, Options};
use http::Method;

#[tokio::test]
async fn without_a_known_key_there_is_nothing_to_see() {
    let cloud = Cloud::start().await;
    let routes = [
        "/v1/vehicles",
        "/v1/vehicles/x",
        "/v1/vehicles/x/tags",
        "/v1/events",
        "/v1/events/stream",
        "/v1/plugins",
        "/v1/deployments",
        "/v1/status",
        "/metrics",
    ];
    for path in routes {
        for (place, key) in
            [None, Some("Bearer wrong"), Some("Basic a2V5"), Some("Bearer"), Some("")].into_iter().enumerate()
        {
            let mut call = cloud.get(ALL[place % 3], path).no_key();
            if let Some(key) = key {
                call = call.header("authorization", key);
            }
            let answer = call.send().await;
            assert_eq!(answer.status, 401, "{path} {key:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"drover\"");
            assert_eq!(answer.headers["content-type"], "application/problem+json");
            assert_eq!(answer.json().await["status"], 401);
        }
    }
}

#[tokio::test]
async fn the_vehicle_of_another_tenant_does_not_exist() {
    let cloud = Cloud::start().await;
    cloud.seen("other", "bus-1", 0);
    cloud.seen("demo", "bus-2", 0);
    let of = |path, key| cloud.get(Version::Http3, path).key(key).send();
    assert_eq!(of("/v1/vehicles/bus-1", OTHER_KEY).await.status, 200);
    let hidden = cloud.get(Version::Http3, "/v1/vehicles/bus-1").send().await;
    let unknown = cloud.get(Version::Http3, "/v1/vehicles/bus-9").send().await;
    assert_eq!((hidden.status.as_u16(), unknown.status.as_u16()), (404, 404));
    let (hidden, unknown) = (hidden.json().await.to_string(), unknown.json().await.to_string());
    assert_eq!(hidden.replace("bus-1", "?"), unknown.replace("bus-9", "?"), "the answers do not differ");
    assert_eq!(cloud.get(Version::Http1, "/v1/vehicles/a%20b").send().await.status, 404);
}

#[tokio::test]
async fn operators_see_the_whole_and_no_tenants_data() {
    let cloud = Cloud::start().await;
    for path in ["/v1/status", "/metrics"] {
        assert_eq!(cloud.get(Version::Http2, path).send().await.status, 403, "{path} with a tenant's key");
        assert_eq!(cloud.get(Version::Http2, path).key(OPERATOR_KEY).send().await.status, 200, "{path}");
    }
    for path in ["/v1/vehicles", "/v1/events", "/v1/events/stream", "/v1/plugins"] {
        assert_eq!(cloud.get(Version::Http3, path).key(OPERATOR_KEY).send().await.status, 403, "{path}");
    }
    let status = cloud.get(Version::Http3, "/v1/status").key(OPERATOR_KEY).send().await.json().await;
    assert_eq!(status["edges"][0]["edge"], "depot-1");
    assert_eq!(status["edges"][0]["connected"], true);
    assert_eq!(status["events"]["alerts"], 0);
}

#[tokio::test]
async fn metrics_are_open_when_the_configuration_says_so() {
    let cloud = Cloud::with(Options { open_metrics: true, ..Options::default() }).await;
    let answer = cloud.get(Version::Http1, "/metrics").no_key().send().await;
    assert_eq!((answer.status.as_u16(), answer.bytes().await), (200, b"# metrics\n".to_vec()));
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_problems_too() {
    let cloud = Cloud::start().await;
    for version in ALL {
        let missing = cloud.get(version, "/v2/vehicles").send().await;
        assert_eq!(
            (missing.status.as_u16(), &missing.headers["content-type"]),
            (404, &"application/problem+json".parse().unwrap())
        );
        let wrong = cloud.call(version, Method::DELETE, "/v1/vehicles").send().await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.json().await["title"].clone()),
            (405, "This route has no such method".into())
        );
    }
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_ends_with_the_shutdown() {
    let cloud = Cloud::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(cloud.get(Version::Http3, path).no_key().send().await.status, 200);
    }
}
