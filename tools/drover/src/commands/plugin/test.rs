//! `drover plugin test`.

use super::case::{Case, CaseEvent, Verdict};
use super::{build, check};
use crate::failure::Failure;
use crate::output;
use std::path::{Path, PathBuf};

/// Files of cases in one project.
const CASES_MAX: usize = 10_000;

/// Run a project's recorded cases: readings in, events expected, differences shown
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  drover plugin test
  drover plugin test my-rule
  drover plugin test my-rule --component my-rule.wasm

A case is a JSON file in cases/:

  { \"about\": \"enters once\", \"config\": {},
    \"readings\": [ { \"vehicle\": \"a\", \"event_time\": \"2026-05-04T08:00:00Z\", \"latitude\": 66.6, \"longitude\": 21 } ],
    \"events\": [ { \"type\": \"geofence.entered\", \"vehicle\": \"a\", \"event_time\": \"2026-05-04T08:00:00Z\",
                  \"subject\": \"arctic\" } ] }

Readings are written as devices write them. What a case does not say of an event's value or details does not matter.
The project is built first. Exit code 1 when a case does not hold.")]
pub(crate) struct Test {
    /// The project: a folder with plugin.toml
    #[arg(default_value = ".")]
    folder: PathBuf,

    /// Test this component instead of building the project
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,

    /// Write what the rule proposes into the cases as what is expected. Read the change before you keep it
    #[arg(long)]
    accept: bool,
}

impl Test {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let component = match &self.component {
            Some(component) => component.clone(),
            None => build::build(&self.folder)?,
        };
        let plugin = check::load(&check::engine()?, &component)?;
        let files = case_files(&self.folder.join("cases"))?;
        let mut wrong = 0;
        for file in &files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let unreadable = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
            let case: Case = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
            let configured = plugin.configure(&case.config).map_err(|error| check::refused_config(file, &error))?;
            let verdict = case.run(configured).map_err(|error| unreadable(error.to_string()))?;
            if self.accept && verdict.failed.is_empty() && !verdict.is_good() {
                std::fs::write(file, accepted(&text, &verdict).map_err(|error| unreadable(error.to_string()))?)
                    .map_err(|error| unreadable(error.to_string()))?;
                output::say(&format!("accepted  {name}: {} events", verdict.found.len()))?;
                continue;
            }
            wrong += usize::from(!verdict.is_good());
            output::say(&told(&name, &case, &verdict))?;
        }
        if wrong > 0 {
            return Err(Failure::Failed(format!("{wrong} of {} cases do not hold", files.len())));
        }
        output::say(&format!("{} cases hold", files.len()))?;
        Ok(())
    }
}

impl Verdict {
    fn is_good(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.failed.is_empty()
    }
}

fn told(name: &str, case: &Case, verdict: &Verdict) -> String {
    let about = if case.about.is_empty() { String::new() } else { format!(": {}", case.about) };
    let mut lines = vec![format!("{}  {name}{about}", if verdict.is_good() { "ok      " } else { "WRONG   " })];
    let line = |event: &CaseEvent| serde_json::to_string(event).unwrap_or_default();
    let of_event = |sign: &str, event: &CaseEvent| format!("  {sign} {}", line(event));
    lines.extend(verdict.failed.iter().map(|failed| format!("  ! {failed}")));
    lines.extend(verdict.missing.iter().map(|event| of_event("-", event)));
    lines.extend(verdict.surplus.iter().map(|event| of_event("+", event)));
    if !verdict.is_good() {
        lines.push("  (- expected, + proposed, ! failed)".to_owned());
    }
    lines.join("\n")
}

/// The case with what was found as what is expected.
fn accepted(text: &str, verdict: &Verdict) -> serde_json::Result<String> {
    let mut case: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)?;
    case.insert("events".to_owned(), serde_json::to_value(&verdict.found)?);
    Ok(serde_json::to_string_pretty(&case)? + "\n")
}

fn case_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::Usage(format!("{}: {error}; a project's cases are JSON files there", folder.display()))
    };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut files: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    if files.is_empty() || files.len() > CASES_MAX {
        let found = files.len();
        return Err(Failure::Usage(format!("{}: {found} cases; 1 to {CASES_MAX} are taken", folder.display())));
    }
    Ok(files)
}
