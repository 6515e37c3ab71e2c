//! A UDP relay between edge and cloud that loses what it is told to lose, and can be as slow as a bad link.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Packets that a slow link holds back before it drops some.
const QUEUE_PACKETS: usize = 64;

pub struct Relay {
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub async fn to(cloud: SocketAddr) -> Self {
        Self::start(cloud, None).await
    }

    /// Towards the cloud only this many bytes pass in a second.
    pub async fn slow(cloud: SocketAddr, bytes_per_second: u32) -> Self {
        Self::start(cloud, Some(bytes_per_second)).await
    }

    async fn start(cloud: SocketAddr, rate: Option<u32>) -> Self {
        let entrance = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = entrance.local_addr().unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(entrance, cloud, cut.clone(), rate));
        Self { address, cut, _tasks: tasks }
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

async fn forward(entrance: Arc<UdpSocket>, cloud: SocketAddr, cut: Arc<AtomicBool>, rate: Option<u32>) {
    let mut exits: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let queue = Arc::new(Mutex::new(()));
    let queued = Arc::new(tokio::sync::Semaphore::new(QUEUE_PACKETS));
    let mut packet = vec![0; 65_535];
    loop {
        let Ok((len, edge)) = entrance.recv_from(&mut packet).await else { continue };
        if cut.load(Ordering::SeqCst) {
            continue;
        }
        let exit = match exits.get(&edge) {
            Some(exit) => exit.clone(),
            None => {
                let exit = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                exit.connect(cloud).await.unwrap();
                exits.insert(edge, exit.clone());
                tasks.spawn(back(exit.clone(), entrance.clone(), edge, cut.clone()));
                exit
            }
        };
        let Some(rate) = rate else {
            let _ = exit.send(&packet[..len]).await;
            continue;
        };
        // A link with a short queue: what does not fit is lost.
        let Ok(place) = queued.clone().try_acquire_owned() else { continue };
        let (bytes, queue) = (packet[..len].to_vec(), queue.clone());
        tasks.spawn(async move {
            let turn = queue.lock().await;
            // Not synchronisation: this is the link's speed.
            tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate))).await;
            let _ = exit.send(&bytes).await;
            drop((turn, place));
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn back(exit: Arc<UdpSocket>, entrance: Arc<UdpSocket>, edge: SocketAddr, cut: Arc<AtomicBool>) {
    let mut packet = vec![0; 65_535];
    loop {
        // An error is the cloud's socket being closed: it may be bound again.
        let Ok(len) = exit.recv(&mut packet).await else { continue };
        if !cut.load(Ordering::SeqCst) {
            let _ = entrance.send_to(&packet[..len], edge).await;
        }
    }
}
