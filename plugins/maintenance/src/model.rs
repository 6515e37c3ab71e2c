//! A regression of remaining life, as a file that a config carries: linear, regression trees, or both.
//!
//! `remaining = intercept + Σ coefficient · feature + Σ tree(features)`, then held between 0 and `remaining_max`.
//!
//! A feature is made of the samples of a vehicle so far, and each needs only a few bytes: the newest value of an input,
//! its exponentially weighted mean over a span (a window without the window's samples; two spans of one input carry its
//! slope), or the number of samples. Trees go left where the feature is at most the threshold.

use serde::Deserialize;

use crate::state::{Reader, Writer};

/// Inputs of a model at most.
pub const INPUTS_MAX: usize = 32;
/// Features of a model at most.
pub const FEATURES_MAX: usize = 64;
/// Trees of a model at most.
pub const TREES_MAX: usize = 500;
/// Nodes of all trees together at most.
pub const NODES_MAX: usize = 20_000;

/// A model as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    format: String,
    inputs: Vec<String>,
    features: Vec<WrittenFeature>,
    unit: String,
    remaining_max: f64,
    rmse: f64,
    #[serde(default)]
    intercept: f64,
    #[serde(default)]
    coefficients: Vec<f64>,
    #[serde(default)]
    trees: Vec<WrittenTree>,
    /// Where it comes from, for people.
    #[serde(default)]
    #[allow(dead_code, reason = "for people")]
    about: String,
}

/// The `format` that is understood.
pub const FORMAT: &str = "drover-remaining-life-1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "of", rename_all = "snake_case")]
enum WrittenFeature {
    Age {},
    Newest { input: String },
    Mean { input: String, span: f64 },
}

/// Node by node: a split by a feature, or a leaf (feature -1), whose threshold is its value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTree {
    feature: Vec<i32>,
    threshold: Vec<f64>,
    left: Vec<u32>,
    right: Vec<u32>,
}

/// A model that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    inputs: Vec<String>,
    features: Vec<Feature>,
    unit: String,
    remaining_max: f64,
    rmse: f64,
    intercept: f64,
    coefficients: Vec<f64>,
    trees: Vec<Vec<Node>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Feature {
    Age,
    Newest { input: usize },
    Mean { input: usize, alpha: f64 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    /// The children stand behind it, so every way ends.
    Split {
        feature: u32,
        threshold: f64,
        left: u32,
        right: u32,
    },
    Leaf(f64),
}

impl Model {
    /// Reads and checks a model.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::new(serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    /// Checks a model.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn new(written: Written) -> Result<Self, String> {
        if written.format != FORMAT {
            return Err(format!("format: {:?} is not {FORMAT:?}", written.format));
        }
        at_most("inputs", written.inputs.len(), INPUTS_MAX)?;
        at_most("features", written.features.len(), FEATURES_MAX)?;
        at_most("trees", written.trees.len(), TREES_MAX)?;
        at_most("trees", written.trees.iter().map(|it| it.feature.len()).sum(), NODES_MAX)?;
        if written.unit.is_empty() || written.unit.len() > 32 {
            return Err("unit: must have 1 to 32 bytes".to_owned());
        }
        for (field, value) in [("remaining_max", written.remaining_max), ("rmse", written.rmse)] {
            if value <= 0.0 {
                return Err(format!("{field}: {value} is not above 0"));
            }
        }
        let input = |at: usize, name: &str| {
            let found = written.inputs.iter().position(|it| it == name);
            found.ok_or_else(|| format!("features[{at}].input: {name:?} is not among the inputs"))
        };
        let mut features = Vec::with_capacity(written.features.len());
        for (at, feature) in written.features.iter().enumerate() {
            features.push(match feature {
                WrittenFeature::Age {} => Feature::Age,
                WrittenFeature::Newest { input: name } => Feature::Newest { input: input(at, name)? },
                WrittenFeature::Mean { input: name, span } if *span >= 1.0 => {
                    Feature::Mean { input: input(at, name)?, alpha: 2.0 / (span + 1.0) }
                }
                WrittenFeature::Mean { span, .. } => return Err(format!("features[{at}].span: {span} is below 1")),
            });
        }
        if !written.coefficients.is_empty() && written.coefficients.len() != features.len() {
            return Err(format!(
                "coefficients: {} for {} features: one each, or none",
                written.coefficients.len(),
                features.len()
            ));
        }
        let trees = written.trees.iter().enumerate().map(|(at, tree)| nodes(tree, features.len(), at));
        let trees = trees.collect::<Result<_, _>>()?;
        Ok(Self {
            features,
            trees,
            inputs: written.inputs,
            unit: written.unit,
            remaining_max: written.remaining_max,
            rmse: written.rmse,
            intercept: written.intercept,
            coefficients: written.coefficients,
        })
    }

    /// The names of what a sample consists of, in order.
    #[must_use]
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// What remaining life is counted in.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The root of the mean square error on units that the model was not fitted on, in its unit.
    #[must_use]
    pub fn rmse(&self) -> f64 {
        self.rmse
    }

    /// What the numbers of a [`Life`] stand for: another model with the same may go on with it.
    #[must_use]
    pub fn meaning(&self) -> String {
        let feature = |it: &Feature| match it {
            Feature::Age => "age".to_owned(),
            Feature::Newest { input } => self.inputs[*input].clone(),
            Feature::Mean { input, alpha } => format!("{} {alpha}", self.inputs[*input]),
        };
        self.features.iter().map(feature).collect::<Vec<_>>().join(",")
    }

    /// Bytes of a [`Life`] of this model.
    #[must_use]
    pub fn life_bytes(&self) -> usize {
        4 + self.features.len() * Trace::BYTES
    }

    /// A unit without samples.
    #[must_use]
    pub fn new_life(&self) -> Life {
        Life { samples: 0, traces: vec![Trace::default(); self.features.len()] }
    }

    /// Takes in a sample: a value for each input, in order; NaN where there is none.
    pub fn add(&self, life: &mut Life, sample: &[f64]) {
        life.samples = life.samples.saturating_add(1);
        for (feature, trace) in self.features.iter().zip(&mut life.traces) {
            let (input, alpha) = match *feature {
                Feature::Age => continue,
                Feature::Newest { input } => (input, 1.0),
                Feature::Mean { input, alpha } => (input, alpha),
            };
            if let Some(value) = sample.get(input).filter(|it| it.is_finite()) {
                trace.sum += alpha * (value - trace.sum);
                trace.weight += alpha * (1.0 - trace.weight);
            }
        }
    }

    /// The remaining life after the samples so far; none while a feature has no value yet.
    #[must_use]
    pub fn remaining(&self, life: &Life) -> Option<f64> {
        let mut values = [0.0; FEATURES_MAX];
        for ((feature, trace), value) in self.features.iter().zip(&life.traces).zip(&mut values) {
            *value = match feature {
                Feature::Age => f64::from(life.samples),
                // Divided by what the weights of the samples so far add up to, so the first are not drawn to 0.
                Feature::Newest { .. } | Feature::Mean { .. } if trace.weight > 0.0 => trace.sum / trace.weight,
                Feature::Newest { .. } | Feature::Mean { .. } => return None,
            };
        }
        let linear = self.coefficients.iter().zip(&values).fold(self.intercept, |sum, (one, other)| sum + one * other);
        let remaining = self.trees.iter().fold(linear, |sum, tree| sum + leaf_of(tree, &values));
        // NaN comes from a damaged row only.
        (!remaining.is_nan()).then(|| remaining.clamp(0.0, self.remaining_max))
    }
}

/// What is remembered of a unit's samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    samples: u32,
    traces: Vec<Trace>,
}

/// A weighted sum of an input, and the sum of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Trace {
    sum: f64,
    weight: f64,
}

impl Trace {
    const BYTES: usize = 16;
}

impl Life {
    /// Samples so far.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// Takes it out of a record.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>, model: &Model) -> Self {
        let samples = reader.u32();
        let trace = |_: &Feature| Trace { sum: reader.f64(), weight: reader.f64() };
        Self { samples, traces: model.features.iter().map(trace).collect() }
    }

    /// Puts it into a record.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.samples);
        for trace in &self.traces {
            writer.f64(trace.sum);
            writer.f64(trace.weight);
        }
    }
}

fn at_most(field: &str, count: usize, max: usize) -> Result<(), String> {
    if count > max { Err(format!("{field}: {count} are more than {max}")) } else { Ok(()) }
}

fn nodes(tree: &WrittenTree, features: usize, at: usize) -> Result<Vec<Node>, String> {
    let count = tree.feature.len();
    if count == 0 || [tree.threshold.len(), tree.left.len(), tree.right.len()] != [count; 3] {
        return Err(format!("trees[{at}]: its lists must have the same length, at least 1"));
    }
    let mut nodes = Vec::with_capacity(count);
    for number in 0..count {
        let threshold = tree.threshold[number];
        let Ok(feature) = u32::try_from(tree.feature[number]) else {
            nodes.push(Node::Leaf(threshold));
            continue;
        };
        if feature as usize >= features {
            return Err(format!("trees[{at}].feature[{number}]: there is no feature {feature}"));
        }
        let (left, right) = (tree.left[number], tree.right[number]);
        for (field, child) in [("left", left), ("right", right)] {
            if child as usize <= number || child as usize >= count {
                return Err(format!("trees[{at}].{field}[{number}]: {child} is not a later node of the tree"));
            }
        }
        nodes.push(Node::Split { feature, threshold, left, right });
    }
    Ok(nodes)
}

fn leaf_of(tree: &[Node], values: &[f64; FEATURES_MAX]) -> f64 {
    let mut at = 0;
    loop {
        match tree[at] {
            Node::Leaf(value) => return value,
            Node::Split { feature, threshold, left, right } => {
                at = if values[feature as usize] <= threshold { left } else { right } as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written() -> Value {
        json!({
            "format": FORMAT, "unit": "days", "remaining_max": 100.0, "rmse": 5.0,
            "inputs": ["wear", "heat"],
            "features": [{"of": "age"}, {"of": "newest", "input": "wear"}, {"of": "mean", "input": "heat", "span": 3.0}],
            "intercept": 50.0, "coefficients": [-1.0, -2.0, 0.0],
            "trees": [{"feature": [2, -1, -1], "threshold": [80.0, 10.0, -10.0], "left": [1, 0, 0], "right": [2, 0, 0]}]
        })
    }

    fn error(change: impl Fn(&mut Value)) -> String {
        let mut written = written();
        change(&mut written);
        Model::parse(&written.to_string()).unwrap_err()
    }

    #[test]
    fn linear_and_trees_add_up() {
        let model = Model::parse(&written().to_string()).unwrap();
        let mut life = model.new_life();
        assert_eq!(model.remaining(&life), None);
        model.add(&mut life, &[4.0, f64::NAN]);
        assert_eq!(model.remaining(&life), None, "no heat yet");
        model.add(&mut life, &[5.0, 60.0]);
        assert_eq!(model.remaining(&life), Some(50.0 - 2.0 - 10.0 + 10.0));
        // The mean of 60 and 120 with the newer one twice as heavy is 100.
        model.add(&mut life, &[f64::NAN, 120.0]);
        assert_eq!(model.remaining(&life), Some(50.0 - 3.0 - 10.0 - 10.0));
        model.add(&mut life, &[500.0, 120.0]);
        assert_eq!(model.remaining(&life), Some(0.0));
        let mut bytes = vec![0; model.life_bytes()];
        life.write(&mut Writer::new(&mut bytes));
        assert_eq!(Life::read(&mut Reader::new(&bytes), &model), life);
    }

    #[test]
    fn an_error_says_where() {
        assert!(error(|it| it["format"] = json!("onnx")).starts_with("format:"));
        assert!(error(|it| it["rmse"] = json!(0)).starts_with("rmse:"));
        assert!(error(|it| it["unit"] = json!("")).starts_with("unit:"));
        assert!(error(|it| it["features"][1]["input"] = json!("noise")).starts_with("features[1].input:"));
        assert!(error(|it| it["features"][2]["span"] = json!(0.5)).starts_with("features[2].span:"));
        assert!(error(|it| it["coefficients"] = json!([1.0])).starts_with("coefficients:"));
        assert!(error(|it| it["trees"][0]["left"] = json!([1])).starts_with("trees[0]:"));
        assert!(error(|it| it["trees"][0]["left"][0] = json!(0)).starts_with("trees[0].left[0]:"));
        assert!(error(|it| it["trees"][0]["right"][0] = json!(3)).starts_with("trees[0].right[0]:"));
        assert!(error(|it| it["trees"][0]["feature"][0] = json!(3)).starts_with("trees[0].feature[0]:"));
        assert!(error(|it| it["depth"] = json!(3)).contains("depth"));
    }
}
