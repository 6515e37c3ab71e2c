//! The one topic that devices publish to: `drover/v1/<tenant>/<vehicle>/readings`.

use fleet_model::{InvalidId, TenantId, VehicleId, VehicleName};

/// Why a topic is not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Another number or other names of levels.
    #[error("{0:?} is not drover/v1/<tenant>/<vehicle>/readings")]
    Shape(String),
    /// A level that is no id.
    #[error("{0}")]
    Id(#[from] InvalidId),
}

/// Longest topic that is repeated in an error.
const SHOWN_LEN_MAX: usize = 200;

/// Reads a topic.
///
/// # Errors
/// What is wrong with it.
pub fn parse(topic: &str) -> Result<VehicleName, TopicError> {
    let mut levels = topic.split('/');
    let level = |levels: &mut std::str::Split<'_, char>| levels.next().unwrap_or_default().to_owned();
    let head = (levels.next(), levels.next());
    let (tenant, vehicle) = (level(&mut levels), level(&mut levels));
    let tail = (levels.next(), levels.next());
    if head != (Some("drover"), Some("v1")) || tail != (Some("readings"), None) {
        return Err(TopicError::Shape(topic.chars().take(SHOWN_LEN_MAX).collect()));
    }
    Ok(VehicleName::new(TenantId::new(&tenant)?, VehicleId::new(&vehicle)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_shape_is_ours() {
        let name = parse("drover/v1/demo/WAW-1000/readings").unwrap();
        assert_eq!((name.tenant.as_str(), name.vehicle.as_str()), ("demo", "WAW-1000"));
        for bad in [
            "",
            "drover",
            "drover/v1/demo/WAW-1000",
            "drover/v1/demo/WAW-1000/readings/",
            "/drover/v1/demo/WAW-1000/readings",
            "drover/v2/demo/WAW-1000/readings",
            "drover/v1/demo/WAW-1000/commands",
        ] {
            assert!(matches!(parse(bad), Err(TopicError::Shape(_))), "{bad:?}");
        }
        for bad in ["drover/v1//x/readings", "drover/v1/demo//readings", "drover/v1/demo/a b/readings"] {
            assert!(matches!(parse(bad), Err(TopicError::Id(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(topic in ".{0,100}") {
            let _ = parse(&topic);
        }
    }
}
