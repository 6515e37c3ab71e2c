//! What readers may see of a log's standing: only what is durable.

use std::collections::{BTreeMap, HashMap};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::contract::{Bounds, Offset, Source, Stream};
use crate::ledger::{Touched, Watermark};

#[derive(Debug, Default)]
pub(crate) struct Published {
    bounds: RwLock<BTreeMap<Stream, Bounds>>,
    watermarks: RwLock<HashMap<Source, Watermark>>,
    tails: Mutex<HashMap<Stream, watch::Sender<Offset>>>,
}

impl Published {
    pub(crate) fn new(bounds: BTreeMap<Stream, Bounds>, watermarks: HashMap<Source, Watermark>) -> Self {
        Self { bounds: RwLock::new(bounds), watermarks: RwLock::new(watermarks), tails: Mutex::default() }
    }

    pub(crate) fn bounds(&self, stream: Stream) -> Bounds {
        self.bounds.read().get(&stream).copied().unwrap_or_default()
    }

    pub(crate) fn watermark(&self, source: &Source) -> Option<Watermark> {
        self.watermarks.read().get(source).copied()
    }

    pub(crate) fn subscribe(&self, stream: Stream) -> watch::Receiver<Offset> {
        let mut tails = self.tails.lock();
        // The bounds are read under the lock of the tails: a change in between is sent after it.
        tails.entry(stream).or_insert_with(|| watch::Sender::new(self.bounds(stream).next)).subscribe()
    }

    pub(crate) fn publish(&self, touched: Touched) {
        let moved: Vec<(Stream, Offset)> = touched.bounds.iter().map(|(stream, b)| (*stream, b.next)).collect();
        self.bounds.write().extend(touched.bounds);
        self.watermarks.write().extend(touched.watermarks);
        let tails = self.tails.lock();
        for (stream, next) in moved {
            if let Some(tail) = tails.get(&stream) {
                tail.send_if_modified(|seen| std::mem::replace(seen, next) != next);
            }
        }
    }
}
