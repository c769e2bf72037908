//! What a relay's and a client's log say of those whom they serve: nothing.

use crate::hostile::attacked;
use crate::rogue::{Attack, Way};
use crate::seeds;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use umbel::sim::world::web_addr;

/// Keeps the text of every event, whatever its level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Text(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

// spec: NODE-2
#[test]
fn what_goes_wrong_is_logged_without_an_address() {
    seeds("what_goes_wrong_is_logged_without_an_address", 1, |seed| {
        let log = Log::default();
        let hosts = tracing::subscriber::with_default(log.clone(), || {
            let o = attacked(seed, 0, &Attack::Flip { way: Way::Next, at: 20, byte: 700 });
            o.w.relays.iter().flat_map(|r| r.contact.addrs.clone()).collect::<Vec<_>>()
        });
        let text = log.0.lock().unwrap().clone();
        assert!(text.contains("circuit closed"), "the log is caught: {text}");
        for secret in hosts.iter().chain([&web_addr()]).map(|addr| addr.ip().to_string()) {
            assert!(!text.contains(&secret), "{secret} stands in the log: {text}");
        }
        assert!(!text.contains("192.0.2.7") && !text.contains("web.example"), "{text}");
    });
}
