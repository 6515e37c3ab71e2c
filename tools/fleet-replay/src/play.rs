//! Hands each message to its vehicle's session when it is due.

use crate::acknowledged::Acknowledged;
use crate::arguments::{Arguments, Sessions};
use crate::message::{Grouping, Message, Reading, Vehicle};
use crate::pacing::{Pacer, Speed};
use crate::progress::{Counters, Links, Progress};
use crate::recording::Recording;
use crate::session::{self, Login, Quality, SessionError, Shared};
use crate::signals::Signals;
use crate::simulate::{Fleet, Town};
use crate::summary::Summary;
use crate::target::Target;
use crate::transport::Transport;
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages that wait for a session.
const QUEUE_SHARED: usize = 256;
/// Messages that wait for a vehicle's own session.
const QUEUE_PER_VEHICLE: usize = 16;
/// After Ctrl-C, acknowledgements that are on their way may arrive within this.
const LAST_ACKNOWLEDGEMENTS_WITHIN: Duration = Duration::from_secs(2);
/// How often a play that may go no further looks into its file.
const UP_TO_LOOKS_EVERY: Duration = Duration::from_millis(20);

/// How a play ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Complete,
    Interrupted,
}

/// Plays what the arguments ask for.
pub(crate) async fn play(arguments: &Arguments, signals: Signals) -> anyhow::Result<Ended> {
    let source = Source::open(arguments)?;
    let Some(target) = arguments.to.clone() else { return Ok(Ended::Complete) };
    let progress = Progress::new(source.readings);
    let counters = Arc::new(Counters::default());
    let shared = Arc::new(Shared {
        transport: Transport::new(target.clone(), arguments.ca.as_deref())?,
        version: arguments.mqtt,
        quality: if arguments.qos == 0 { Quality::AtMostOnce } else { Quality::AtLeastOnce },
        in_flight_max: arguments.in_flight,
        give_up_after: arguments.give_up_after,
        counters: counters.clone(),
        acknowledged: Acknowledged::into_file(arguments.acknowledged.as_deref())?,
        links: Links::new(progress.clone(), target.to_string(), arguments.give_up_after),
    });
    let shown = tokio::spawn(progress.clone().show(counters.clone()));
    let vehicles = source.vehicles;
    let started = Instant::now();
    let mut crew = Crew::new(shared.clone(), target, arguments.sessions);
    let played = crew.play(source, arguments, signals).await;
    let seconds = started.elapsed().as_secs_f64();
    shown.abort();
    progress.clear();
    let (acknowledged, refused) = (counters.acknowledged.load(Relaxed), counters.refused.load(Relaxed));
    let delivered = if arguments.qos == 0 { counters.sent.load(Relaxed) } else { acknowledged + refused };
    let summary = Summary {
        sent: counters.sent.load(Relaxed),
        acknowledged,
        refused: (arguments.qos == 1 && arguments.mqtt.tells_refusals()).then_some(refused),
        resent: counters.resent.load(Relaxed),
        vehicles,
        seconds: (seconds * 1_000.0).round() / 1_000.0,
        readings_per_s: if seconds > 0.0 { (delivered as f64 / seconds).round() } else { 0.0 },
        interrupted: matches!(played, Ok(Ended::Interrupted)),
    };
    // A reader that has gone away is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{summary}");
    if let Some(path) = &arguments.summary {
        write_json(path, &summary)?;
    }
    shared.acknowledged.finish()?;
    Ok(played?)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Readings in the order in which they are played.
struct Source {
    readings: Option<u64>,
    vehicles: u64,
    iterator: Box<dyn Iterator<Item = Reading> + Send>,
}

impl Source {
    fn open(arguments: &Arguments) -> anyhow::Result<Self> {
        if let Some(path) = &arguments.recording {
            let recording =
                Recording::open(path, &arguments.tenant).with_context(|| format!("recording {}", path.display()))?;
            return Ok(Self {
                readings: Some(recording.readings.len() as u64),
                vehicles: recording.vehicles as u64,
                iterator: Box::new(recording.readings.into_iter()),
            });
        }
        let town = Town::new(arguments.seed);
        if let Some(path) = &arguments.zones_out {
            write_json(path, &town.zones_geojson())?;
        }
        let vehicles = arguments.simulate.unwrap_or_default();
        if arguments.every < Duration::from_millis(10) {
            bail!("--every: at least 10ms");
        }
        let start_ms = start_ms(arguments.speed, arguments.duration, arguments.to.is_some())?;
        let fleet = Fleet::new(town, vehicles, arguments.seed, &arguments.tenant, start_ms, arguments.every);
        let until = arguments.duration;
        let readings = until.map(|until| fleet.readings_within(until));
        let iterator: Box<dyn Iterator<Item = Reading> + Send> = match until {
            Some(until) => Box::new(fleet.within(until)),
            None => Box::new(fleet),
        };
        Ok(Self { readings, vehicles: u64::from(vehicles), iterator })
    }
}

/// When the first simulated reading was: so that a fleet that drives faster than the clock never drives in the future.
fn start_ms(speed: Speed, duration: Option<Duration>, plays: bool) -> anyhow::Result<i64> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let ahead = match (speed, duration) {
        (Speed::Times(times), _) if times <= 1.0 => Duration::ZERO,
        (Speed::Times(times), Some(duration)) => duration.mul_f64(1.0 - 1.0 / times),
        (Speed::Max, Some(duration)) => duration,
        (_, None) if !plays => Duration::ZERO,
        (_, None) => bail!("--speed {speed} of a simulated fleet needs --for: it drives up to now"),
    };
    Ok(now_ms - ahead.as_millis() as i64)
}

/// The sessions, begun when their first vehicle reports.
struct Crew {
    shared: Arc<Shared>,
    target: Target,
    sessions: Sessions,
    client_id: String,
    queues: HashMap<u64, mpsc::Sender<Message>>,
    running: JoinSet<Result<(), SessionError>>,
}

impl Crew {
    fn new(shared: Arc<Shared>, target: Target, sessions: Sessions) -> Self {
        // Two replays into one edge must not take each other's sessions.
        let client_id = format!("replay-{:08x}", rand::random::<u32>());
        Self { shared, target, sessions, client_id, queues: HashMap::new(), running: JoinSet::new() }
    }

    async fn play(
        &mut self,
        source: Source,
        arguments: &Arguments,
        mut signals: Signals,
    ) -> Result<Ended, SessionError> {
        let mut pacer = Pacer::new(arguments.speed);
        let mut grouping = Grouping::new(arguments.readings_per_message);
        let start = tokio::time::Instant::now();
        let mut readings = source.iterator;
        let mut more = true;
        let mut played = 0;
        let mut up_to = arguments.up_to.as_deref().map(UpTo::new);
        while more {
            let complete = match readings.next() {
                Some(reading) => {
                    played += 1;
                    let due = pacer.due(reading.clock_ms);
                    grouping.push(due, reading)
                }
                None => {
                    more = false;
                    grouping.finish()
                }
            };
            let Some((due, message)) = complete else { continue };
            let queue = self.queue(&message.vehicle);
            let hand_over = async {
                if let Some(up_to) = &mut up_to {
                    up_to.allows(played).await;
                }
                if !due.is_zero() {
                    tokio::time::sleep_until(start + due).await;
                }
                // Fails only when the session has ended, which is seen below.
                let _ = queue.send(message).await;
            };
            tokio::select! {
                biased;
                () = signals.come() => {
                    self.queues.clear();
                    let _ = tokio::time::timeout(LAST_ACKNOWLEDGEMENTS_WITHIN, self.all_ended()).await;
                    return Ok(Ended::Interrupted);
                }
                // A session ends by itself only when it cannot go on.
                Some(Ok(Err(error))) = self.running.join_next() => return Err(error),
                () = hand_over => {}
            }
        }
        self.queues.clear();
        tokio::select! {
            () = signals.come() => Ok(Ended::Interrupted),
            ended = self.all_ended() => ended.map(|()| Ended::Complete),
        }
    }

    async fn all_ended(&mut self) -> Result<(), SessionError> {
        while let Some(ended) = self.running.join_next().await {
            match ended {
                Ok(ended) => ended?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        Ok(())
    }

    /// The queue of the vehicle's session: always the same one for a vehicle.
    fn queue(&mut self, vehicle: &Vehicle) -> mpsc::Sender<Message> {
        let hash = fnv1a(vehicle.id.as_str());
        let (number, length) = match self.sessions {
            Sessions::PerVehicle => (hash, QUEUE_PER_VEHICLE),
            Sessions::Shared(sessions) => (hash % u64::from(sessions), QUEUE_SHARED),
        };
        if let Some(queue) = self.queues.get(&number) {
            return queue.clone();
        }
        let (queue, messages) = mpsc::channel(length);
        let login = Login {
            client_id: format!("{}-{number:x}", self.client_id),
            username: self.target.username.clone(),
            password: self.target.password.clone(),
        };
        self.running.spawn(session::run(self.shared.clone(), login, messages));
        self.queues.insert(number, queue.clone());
        queue
    }
}

/// FNV-1a: the same on every machine and in every version, so that a play can be repeated.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How far a file lets the play go.
struct UpTo<'a> {
    file: &'a Path,
    last: u64,
}

impl<'a> UpTo<'a> {
    fn new(file: &'a Path) -> Self {
        Self { file, last: 0 }
    }

    /// Ends when the file allows reading number `number`. A file that is not there yet, or is being written, allows
    /// nothing.
    async fn allows(&mut self, number: u64) {
        while number > self.last {
            let text = tokio::fs::read_to_string(self.file).await.unwrap_or_default();
            match text.trim().parse() {
                Ok(last) if last > self.last => self.last = last,
                _ => tokio::time::sleep(UP_TO_LOOKS_EVERY).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_never_drives_in_the_future() {
        let now = jiff::Timestamp::now().as_millisecond();
        let minute = Some(Duration::from_secs(60));
        let back = |speed, duration| (now - start_ms(speed, duration, true).unwrap() + 500) / 1_000;
        assert_eq!(back(Speed::Times(1.0), None), 0);
        assert_eq!(back(Speed::Times(10.0), minute), 54);
        assert_eq!(back(Speed::Max, minute), 60);
        assert!(start_ms(Speed::Max, None, true).is_err());
    }
}
