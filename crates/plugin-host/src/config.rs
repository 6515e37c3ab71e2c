//! Configs against the schema that the plugin declares.

use crate::child::{self, ChildError, Task};
use crate::compile::Compiler;
use crate::limits::{CompileLimits, shortened};
use jsonschema::PatternOptions;
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

/// Why there is no verdict on a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckError {
    /// The schema itself is faulty.
    Schema(String),
    /// The check took too much, or could not be run.
    Failed(String),
}

/// Everything that is wrong with `config`, in the order of the schema.
pub(crate) fn problems(
    compiler: Compiler,
    limits: &CompileLimits,
    schema: &Value,
    config: &Value,
) -> Result<Vec<ConfigProblem>, CheckError> {
    let input = Input { schema, config };
    let failed = |error: serde_json::Error| CheckError::Failed(error.to_string());
    let answer = match compiler {
        Compiler::InProcess => return check(&input),
        Compiler::ChildProcess => child::run(Task::CheckConfig, limits, &serde_json::to_vec(&input).map_err(failed)?),
    };
    match answer {
        Ok(answer) => serde_json::from_slice(&answer).map_err(failed),
        Err(ChildError::Refused(text)) => Err(CheckError::Schema(text)),
        Err(ChildError::TooExpensive(text) | ChildError::Failed(text)) => Err(CheckError::Failed(text)),
    }
}

/// What a child is given.
#[derive(Serialize, Deserialize)]
struct Input<V> {
    schema: V,
    config: V,
}

/// The work of a child: JSON to JSON.
pub(crate) fn in_this_process(input: &[u8]) -> Result<Vec<u8>, ChildError> {
    let failed = |error: serde_json::Error| ChildError::Failed(error.to_string());
    let Input { schema, config } = serde_json::from_slice::<Input<Value>>(input).map_err(failed)?;
    match check(&Input { schema: &schema, config: &config }) {
        Ok(problems) => serde_json::to_vec(&problems).map_err(failed),
        Err(CheckError::Schema(text)) => Err(ChildError::Refused(text)),
        Err(CheckError::Failed(text)) => Err(ChildError::Failed(text)),
    }
}

/// Draft 2020-12 whatever the schema says. References lead nowhere but into the schema itself (the crate is built
/// without resolvers), and patterns run in an engine that is linear in the text.
fn check(input: &Input<&Value>) -> Result<Vec<ConfigProblem>, CheckError> {
    let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
    let validator = options.build(input.schema).map_err(|error| {
        let pointer = error.instance_path().to_string();
        CheckError::Schema(shortened(format!("config-schema, at {pointer:?}: {error}"), PROBLEM_BYTES_MAX))
    })?;
    let problem = |error: jsonschema::ValidationError<'_>| ConfigProblem {
        pointer: error.instance_path().to_string(),
        message: shortened(error.to_string(), PROBLEM_BYTES_MAX),
    };
    Ok(validator.iter_errors(input.config).take(PROBLEMS_MAX).map(problem).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, config: &Value) -> Result<Vec<ConfigProblem>, CheckError> {
        super::check(&Input { schema, config })
    }

    #[test]
    fn every_problem_has_its_pointer() {
        let schema = json!({
            "type": "object",
            "required": ["zones"],
            "additionalProperties": false,
            "properties": {
                "zones": {"type": "array", "items": {"type": "object", "properties": {"radius_m": {"minimum": 0}}}},
                "exit/buffer": {"type": "number"},
            },
        });
        let config = json!({"zones": [{"radius_m": 1}, {"radius_m": -1}, 3], "exit/buffer": "x"});
        let problems = check(&schema, &config).unwrap();
        let mut pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/exit~1buffer", "/zones/1/radius_m", "/zones/2"]);
        let missing = check(&schema, &json!({})).unwrap();
        assert_eq!((missing[0].pointer.as_str(), missing.len()), ("", 1));
        assert!(missing[0].to_string().contains("zones"), "{}", missing[0]);
        assert_eq!(check(&schema, &json!({"zones": []})), Ok(vec![]));
    }

    #[test]
    fn a_schema_refers_to_nothing_outside_itself() {
        for target in ["http://example.org/schema.json", "file:///etc/passwd", "other.json"] {
            assert!(check(&json!({"$ref": target}), &json!({})).is_err(), "{target}");
        }
        assert!(check(&json!({"type": "objekt"}), &json!({})).is_err());
    }

    #[test]
    fn a_problem_does_not_repeat_the_whole_config() {
        let problems = check(&json!({"type": "object"}), &json!(vec![1; 10_000])).unwrap();
        assert!(problems[0].message.len() <= PROBLEM_BYTES_MAX + '…'.len_utf8());
    }
}
