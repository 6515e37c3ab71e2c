//! Whose plugin says it: lines of a log carry the tenant and the deployment.

use crate::guest::{Guest, SUBJECT, answer, log_lines, positions};
use fleet_model::Timestamp;
use plugin_host::{JournalCounts, PluginJournal, TokenBucket};
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the lines of plugins, each as its fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "plugin"
    }
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

#[test]
fn a_line_names_the_tenant_and_the_deployment_once_they_are_known() {
    let evaluate = format!("{} {}", log_lines(1), answer(0));
    let plugin = Guest { evaluate, ..Guest::default() }.configured();
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        plugin.instantiate().unwrap().evaluate(&positions(1), &[0; 8]).unwrap();
        let mut instance = plugin.labelled("acme", "yards").instantiate().unwrap();
        instance.evaluate(&positions(1), &[0; 8]).unwrap();
    });
    let lines = lines.0.lock().unwrap();
    let [plain, labelled] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(plain.contains("plugin=\"test-rule@1.0.0\"") && plain.contains(SUBJECT), "{plain}");
    assert!(!plain.contains("tenant"), "{plain}");
    for part in ["plugin=\"test-rule@1.0.0\"", "tenant=\"acme\"", "deployment=\"yards\"", SUBJECT] {
        assert!(labelled.contains(part), "{part} is not in {labelled}");
    }
}

/// A journal of so many lines a second, and a burst of as many.
fn journal(lines: u32) -> Arc<PluginJournal> {
    let shared = Arc::new(Mutex::new(TokenBucket::new(1_000, 1_000, 0)));
    let bucket = TokenBucket::new(lines, lines, 0);
    Arc::new(PluginJournal::new(Arc::new(|| Timestamp(0)), bucket, shared, "the rest is dropped".into()))
}

#[test]
fn lines_beyond_the_rate_are_dropped_counted_and_told_once() {
    let evaluate = format!("{} {}", log_lines(10), answer(0));
    let plugin = Guest { evaluate, ..Guest::default() }.configured();
    let journal = journal(12);
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        // Two instances of a deployment have one rate.
        for vehicle in [Some(Arc::from("bus-1")), None] {
            let mut instance = plugin.instantiate().unwrap();
            instance.attach("acme", "yards", journal.clone());
            instance.about(vehicle);
            instance.evaluate(&positions(1), &[0; 8]).unwrap();
        }
    });
    let kept = journal.from(0);
    let texts: Vec<_> = kept.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, [vec![SUBJECT; 12], vec!["the rest is dropped"]].concat());
    assert_eq!((kept[9].vehicle.as_deref(), kept[10].vehicle.as_deref()), (Some("bus-1"), None));
    assert_eq!(journal.counts(), JournalCounts { kept: 13, dropped: 8 });
    assert_eq!(lines.0.lock().unwrap().len(), 13, "the program's own log has what the journal has");
}

#[test]
fn what_is_said_while_it_is_configured_is_kept_once_it_is_known_for_whom() {
    let configure = format!("{} {}", log_lines(2), Guest::default().configure);
    let plugin = Guest { configure, ..Guest::default() }.configured();
    let mut instance = plugin.instantiate().unwrap();
    let journal = journal(100);
    instance.attach("acme", "yards", journal.clone());
    assert_eq!(journal.from(0).len(), 2);
}
