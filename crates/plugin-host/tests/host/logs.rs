//! Whose plugin says it: lines of a log carry the tenant and the deployment.

use crate::guest::{Guest, SUBJECT, answer, log_lines, positions};
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
