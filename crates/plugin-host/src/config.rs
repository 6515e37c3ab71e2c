//! Configs against the schema that the plugin declares.

use crate::limits::shortened;
use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Problems that are told at once.
const PROBLEMS_MAX: usize = 100;
/// Longest text of a problem, in bytes: it may quote the value, which may be a city's zones.
const PROBLEM_BYTES_MAX: usize = 300;

/// One place where a config breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblem {
    /// JSON Pointer (RFC 6901) to the value in the config; empty for the config itself.
    pub pointer: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "the config" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)
    }
}

/// The schema of a plugin's config, ready for use.
pub(crate) struct ConfigSchema(Validator);

impl ConfigSchema {
    /// Draft 2020-12 whatever the schema says. References lead nowhere but into the schema itself (the crate is built
    /// without resolvers), and patterns run in an engine that is linear in the text.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
        options.build(schema).map(Self).map_err(|error| {
            let pointer = error.instance_path().to_string();
            shortened(format!("config-schema, at {pointer:?}: {error}"), PROBLEM_BYTES_MAX)
        })
    }

    /// Everything that is wrong with `config`, in the order of the schema.
    pub(crate) fn problems(&self, config: &Value) -> Vec<ConfigProblem> {
        let problem = |error: jsonschema::ValidationError<'_>| ConfigProblem {
            pointer: error.instance_path().to_string(),
            message: shortened(error.to_string(), PROBLEM_BYTES_MAX),
        };
        self.0.iter_errors(config).take(PROBLEMS_MAX).map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_problem_has_its_pointer() {
        let schema = ConfigSchema::new(&json!({
            "type": "object",
            "required": ["zones"],
            "additionalProperties": false,
            "properties": {
                "zones": {"type": "array", "items": {"type": "object", "properties": {"radius_m": {"minimum": 0}}}},
                "exit/buffer": {"type": "number"},
            },
        }))
        .unwrap();
        let problems = schema.problems(&json!({"zones": [{"radius_m": 1}, {"radius_m": -1}, 3], "exit/buffer": "x"}));
        let mut pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/exit~1buffer", "/zones/1/radius_m", "/zones/2"]);
        let missing = schema.problems(&json!({}));
        assert_eq!((missing[0].pointer.as_str(), missing.len()), ("", 1));
        assert!(missing[0].to_string().contains("zones"), "{}", missing[0]);
        assert!(schema.problems(&json!({"zones": []})).is_empty());
    }

    #[test]
    fn a_schema_refers_to_nothing_outside_itself() {
        for target in ["http://example.org/schema.json", "file:///etc/passwd", "other.json"] {
            assert!(ConfigSchema::new(&json!({"$ref": target})).is_err(), "{target}");
        }
        assert!(ConfigSchema::new(&json!({"type": "objekt"})).is_err());
    }

    #[test]
    fn a_problem_does_not_repeat_the_whole_config() {
        let schema = ConfigSchema::new(&json!({"type": "object"})).unwrap();
        let problems = schema.problems(&json!(vec![1; 10_000]));
        assert!(problems[0].message.len() <= PROBLEM_BYTES_MAX + '…'.len_utf8());
    }
}
