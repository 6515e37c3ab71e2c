//! The uplink's wire, which a test can cut: a UDP relay between an edge and its cloud.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a relay thread waits for a packet before it looks whether the test has ended.
const PATIENCE: Duration = Duration::from_millis(100);
/// Largest UDP payload.
const PACKET_LEN_MAX: usize = 65_535;

/// A relay that forwards to one address until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Link {
    /// Starts to relay towards `cloud`.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn to(cloud: SocketAddr) -> Result<Self> {
        let entrance = UdpSocket::bind("127.0.0.1:0").context("bind the relay")?;
        entrance.set_read_timeout(Some(PATIENCE))?;
        let address = entrance.local_addr()?;
        let cut = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        let (relay_cut, relay_ended) = (cut.clone(), ended.clone());
        std::thread::spawn(move || relay(&entrance, cloud, &relay_cut, &relay_ended));
        Ok(Self { address, cut, ended })
    }

    /// Where an edge should send.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every packet is lost.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// From now on packets pass again.
    pub fn restore(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn relay(entrance: &UdpSocket, cloud: SocketAddr, cut: &Arc<AtomicBool>, ended: &Arc<AtomicBool>) {
    let mut exits: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut packet = vec![0; PACKET_LEN_MAX];
    while !ended.load(Ordering::SeqCst) {
        let Ok((len, edge)) = entrance.recv_from(&mut packet) else { continue };
        if cut.load(Ordering::SeqCst) {
            continue;
        }
        let exit = match exits.entry(edge) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => match way_back(entrance, edge, cut, ended) {
                Ok(exit) => new.insert(exit),
                Err(_) => continue,
            },
        };
        let _ = exit.send_to(&packet[..len], cloud);
    }
}

/// A socket of its own per edge address, and a thread that brings its answers back.
fn way_back(
    entrance: &UdpSocket,
    edge: SocketAddr,
    cut: &Arc<AtomicBool>,
    ended: &Arc<AtomicBool>,
) -> Result<UdpSocket> {
    let exit = UdpSocket::bind("127.0.0.1:0")?;
    exit.set_read_timeout(Some(PATIENCE))?;
    let (answers, entrance) = (exit.try_clone()?, entrance.try_clone()?);
    let (cut, ended) = (cut.clone(), ended.clone());
    std::thread::spawn(move || {
        let mut packet = vec![0; PACKET_LEN_MAX];
        while !ended.load(Ordering::SeqCst) {
            let Ok((len, _)) = answers.recv_from(&mut packet) else { continue };
            if !cut.load(Ordering::SeqCst) {
                let _ = entrance.send_to(&packet[..len], edge);
            }
        }
    });
    Ok(exit)
}
