//! One cloud and one edge as real processes, with certificates, keys, ports and files of their own.

mod setup;

pub use setup::{DEMO, IDLE_TIMEOUT_MS, NEIGHBOUR, Semantics, Setup, TENANT, Tenant};

use crate::alerts::{self, Alert, Class};
use crate::link::Link;
use crate::process::{self, Process, wait_for};
use crate::programs::Programs;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The only edge.
pub const EDGE: &str = "depot-1";
/// The deployment of the geofence.
pub const DEPLOYMENT: &str = "city-zones";
/// A program that starts is ready by then, even on a machine that is busy building.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A program that is asked to end has drained by then.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

/// A running fleet. Dropping it ends its processes.
#[derive(Debug)]
pub struct Fleet {
    programs: Programs,
    directory: PathBuf,
    setup: Setup,
    cloud: Option<Process>,
    edge: Option<Process>,
    link: Option<Link>,
    cloud_ingest: SocketAddr,
    serving: SocketAddr,
    mqtt: SocketAddr,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Fleet {
    /// Makes certificates and configs in `directory`, starts both programs, and waits until they listen.
    ///
    /// # Errors
    /// When something cannot be written or started; with the end of the program's log.
    pub fn start(programs: Programs, directory: &Path, setup: Setup) -> Result<Self> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut fleet = Self {
            programs,
            directory: directory.to_owned(),
            setup,
            cloud: None,
            edge: None,
            link: None,
            cloud_ingest: nowhere,
            serving: nowhere,
            mqtt: nowhere,
            http: nowhere,
            admin: nowhere,
        };
        std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        let certificates = directory.join("certs");
        if !certificates.join("ca.pem").exists() {
            fleet.run(fleet.programs.command("drover").arg("dev-certs").arg(&certificates).args(["--edge", EDGE]))?;
        }
        fleet.start_cloud()?;
        if setup.cuttable {
            fleet.link = Some(Link::to(fleet.cloud_ingest)?);
        }
        fleet.start_edge()?;
        Ok(fleet)
    }

    /// Starts the cloud, on the ports it had before if it ran before.
    ///
    /// # Errors
    /// As [`Fleet::start`].
    pub fn start_cloud(&mut self) -> Result<()> {
        let certs = self.directory.join("certs");
        let config = format!(
            r#"data_dir = "cloud"
[cloud_ingest]
listen = "{ingest}"
ca = "{certs}/ca.pem"
certificate = "{certs}/cloud.pem"
private_key = "{certs}/cloud.key"
idle_timeout_ms = {idle_timeout_ms}
[serving]
listen = "{serving}"
certificate = "{certs}/cloud.pem"
private_key = "{certs}/cloud.key"
open_metrics = true
{tenants}{observability}"#,
            ingest = self.cloud_ingest,
            serving = self.serving,
            certs = certs.display(),
            idle_timeout_ms = self.setup.idle_timeout_ms,
            tenants = self.setup.tenants(),
            observability = self.setup.observability(),
        );
        let (process, addresses) = self.start_program("drover-cloud", "cloud", &config)?;
        self.cloud = Some(process);
        self.cloud_ingest = address(&addresses, "cloud_ingest")?;
        self.serving = address(&addresses, "serving")?;
        Ok(())
    }

    /// Starts the edge, on the ports it had before if it ran before.
    ///
    /// # Errors
    /// As [`Fleet::start`].
    pub fn start_edge(&mut self) -> Result<()> {
        let certs = self.directory.join("certs");
        let uplink = self.link.as_ref().map_or(self.cloud_ingest, Link::address);
        let config = format!(
            r#"data_dir = "edge"
edge = "{EDGE}"
[device_link.mqtt]
listen = "{mqtt}"
[device_link.http]
listen = "{http}"
{credentials}[admission]
accept_future_clocks = {plain}
[admin]
listen = "{admin}"
[uplink]
cloud = "{uplink}"
server_name = "localhost"
ca = "{certs}/ca.pem"
certificate = "{certs}/edge-{EDGE}.pem"
private_key = "{certs}/edge-{EDGE}.key"
idle_timeout_ms = {idle_timeout_ms}
{retention}{observability}"#,
            retention = self.setup.retention(),
            mqtt = self.mqtt,
            http = self.http,
            admin = self.admin,
            credentials = self.setup.credentials(),
            plain = self.setup.semantics == Semantics::Plain,
            certs = certs.display(),
            idle_timeout_ms = self.setup.idle_timeout_ms,
            observability = self.setup.observability(),
        );
        let (process, addresses) = self.start_program("drover-edge", "edge", &config)?;
        self.edge = Some(process);
        self.mqtt = address(&addresses, "mqtt")?;
        self.http = address(&addresses, "http")?;
        self.admin = address(&addresses, "admin")?;
        Ok(())
    }

    fn start_program(&self, program: &str, name: &str, config: &str) -> Result<(Process, Value)> {
        let path = self.directory.join(format!("{name}.toml"));
        std::fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let addresses = self.directory.join(name).join("addresses.json");
        if addresses.exists() {
            std::fs::remove_file(&addresses).with_context(|| format!("remove {}", addresses.display()))?;
        }
        let log = self.directory.join(format!("{name}.log"));
        let mut process = Process::start(program, self.programs.command(program).arg("--config").arg(&path), &log)?;
        let found = wait_for(&format!("the start of {program}"), READY_WITHIN, || {
            process.check_alive()?;
            match std::fs::read_to_string(&addresses) {
                Ok(text) => Ok(Some(serde_json::from_str(&text).context("addresses.json")?)),
                Err(_) => Ok(None),
            }
        })?;
        Ok((process, found))
    }

    /// SIGKILL to the edge.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_edge(&mut self) -> Result<()> {
        self.edge.take().context("the edge does not run")?.kill()
    }

    /// SIGTERM to the edge.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn stop_edge(&mut self) -> Result<()> {
        self.edge.take().context("the edge does not run")?.stop(DRAINED_WITHIN)?;
        Ok(())
    }

    /// SIGKILL to the cloud.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_cloud(&mut self) -> Result<()> {
        self.cloud.take().context("the cloud does not run")?.kill()
    }

    /// The wire between edge and cloud, when the fleet was set up with one that can be cut.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Where devices publish.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// Where devices post.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the edge's operator looks.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where partners read.
    #[must_use]
    pub fn serving(&self) -> SocketAddr {
        self.serving
    }

    /// The API key of the tenant.
    #[must_use]
    pub fn api_key(&self) -> &'static str {
        DEMO.api_key
    }

    /// The devices' password.
    #[must_use]
    pub fn device_password(&self) -> &'static str {
        DEMO.device_password
    }

    /// Where certificates, configs, logs and data are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The processes' ids: cloud, edge; 0 for one that does not run.
    #[must_use]
    pub fn process_ids(&self) -> (u32, u32) {
        (self.cloud.as_ref().map_or(0, Process::id), self.edge.as_ref().map_or(0, Process::id))
    }

    /// The `drover` command line, pointed at this fleet.
    #[must_use]
    pub fn drover(&self) -> Command {
        self.drover_of(&DEMO)
    }

    /// The `drover` command line of a tenant.
    #[must_use]
    pub fn drover_of(&self, tenant: &Tenant) -> Command {
        let mut command = self.programs.command("drover");
        command
            .env("DROVER_CLOUD", format!("https://localhost:{}", self.serving.port()))
            .env("DROVER_API_KEY", tenant.api_key)
            .env("DROVER_CA", self.directory.join("certs/ca.pem"));
        command
    }

    /// The `fleet-replay` command line, pointed at this fleet's edge.
    #[must_use]
    pub fn replay(&self) -> Command {
        self.replay_of(&DEMO)
    }

    /// The `fleet-replay` command line for the vehicles of a tenant.
    #[must_use]
    pub fn replay_of(&self, tenant: &Tenant) -> Command {
        let Tenant { name, device_user, device_password, .. } = tenant;
        let mut command = self.programs.command("fleet-replay");
        command.args(["--tenant", name, "--to", &format!("mqtt://{device_user}:{device_password}@{}", self.mqtt)]);
        command
    }

    /// Runs a command to its end and answers what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn run(&self, command: &mut Command) -> Result<String> {
        process::run(command)
    }

    /// Posts readings to the edge as a device does, and answers what it said.
    ///
    /// # Errors
    /// When one is refused.
    pub fn post_readings(&self, readings: &Value) -> Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "20"])
            .args(["--user", &format!("{}:{}", DEMO.device_user, DEMO.device_password)])
            .args(["--header", "Content-Type: application/json", "--data-binary", &readings.to_string()])
            .arg(format!("http://{}/v1/readings", self.http))
            .stdin(std::process::Stdio::null());
        let answer = self.run(&mut curl)?;
        serde_json::from_str(&answer).with_context(|| format!("the edge answered {answer:?}"))
    }

    /// Uploads a plugin file and deploys it with a config, and waits until the edge runs it.
    ///
    /// # Errors
    /// When the cloud or the edge refuses it.
    pub fn deploy(&self, plugin: &Path, config: &Path) -> Result<String> {
        self.run(self.drover().args(["deploy", DEPLOYMENT, "--plugin"]).arg(plugin).arg("--config").arg(config))
    }

    /// Plays with these arguments; progress and summary go to a log.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_replay(&self, arguments: &[&str], summary: &Path) -> Result<Process> {
        let log = self.directory.join("fleet-replay.log");
        Process::start("fleet-replay", self.replay().args(arguments).arg("--summary").arg(summary), &log)
    }

    /// Follows the tenant's events of a class as a partner does, into a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn follow(&self, class: Class, into: &Path) -> Result<Process> {
        let file = File::create(into).with_context(|| format!("write {}", into.display()))?;
        let log = self.directory.join("partner.log");
        let mut command = self.drover();
        command.args(["events", "--class", class.as_str(), "--follow", "--format", "ndjson"]);
        Process::start_with_output("drover events", &mut command, file, &log)
    }

    /// All events of a class that the cloud has.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn events(&self, class: Class) -> Result<Vec<Alert>> {
        let mut command = self.drover();
        alerts::parse(&self.run(command.args(["events", "--class", class.as_str(), "--format", "ndjson"]))?)
    }

    /// What `drover status` says.
    ///
    /// # Errors
    /// When the cloud does not answer.
    pub fn status(&self) -> Result<Value> {
        let text = self.run(self.drover().args(["status", "--format", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("drover status printed {text:?}"))
    }

    /// The edge's own status, read over its admin listener.
    ///
    /// # Errors
    /// When the edge does not answer.
    pub fn edge_status(&self) -> Result<Value> {
        let text = crate::admin::get(self.admin, "/v1/status")?;
        serde_json::from_str(&text).with_context(|| format!("the edge's status is {text:?}"))
    }

    /// Whether the edge has a connection to the cloud, as far as it knows.
    ///
    /// # Errors
    /// When the edge does not answer.
    pub fn is_connected(&self) -> Result<bool> {
        Ok(self.edge_status()?["uplink"]["state"] == "connected")
    }

    /// Errors with the end of the log of a program that has ended by itself.
    ///
    /// # Errors
    /// When one has.
    pub fn check_alive(&mut self) -> Result<()> {
        [&mut self.cloud, &mut self.edge].into_iter().flatten().try_for_each(Process::check_alive)
    }

    /// Waits until everything that the edge has is applied, delivered and acknowledged, and answers the cloud's status.
    ///
    /// # Errors
    /// When that has not happened by the deadline, or a program has ended.
    pub fn wait_until_delivered(&mut self, deadline: Duration) -> Result<Value> {
        wait_for("delivery of everything to the cloud", deadline, || {
            self.check_alive()?;
            // The edge says what it has; only then is it asked whether the cloud has it: the other way round, something
            // could slip in between.
            let Ok(edge) = self.edge_status() else { return Ok(None) };
            let Some(telemetry) = stream_next(&edge, "telemetry") else { return Ok(None) };
            if edge["applied_offset"].as_u64() != Some(telemetry) {
                return Ok(None);
            }
            let Ok(again) = self.edge_status() else { return Ok(None) };
            let streams = again["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
            if streams.is_empty() || streams.iter().any(|stream| stream["acked"] != stream["next"]) {
                return Ok(None);
            }
            if stream_next(&again, "telemetry") != Some(telemetry) {
                return Ok(None);
            }
            Ok(self.status().ok())
        })
    }

    /// Ends both programs as an operator would.
    ///
    /// # Errors
    /// When one does not end by itself.
    pub fn stop(mut self) -> Result<()> {
        for process in [self.edge.take(), self.cloud.take()].into_iter().flatten() {
            let mut process = process;
            let status = process.stop(DRAINED_WITHIN)?;
            if !status.success() {
                bail!("it ended with {status}; the end of its log:\n{}", process.log_end());
            }
        }
        Ok(())
    }
}

fn stream_next(status: &Value, class: &str) -> Option<u64> {
    status["streams"].as_array()?.iter().find(|stream| stream["class"] == class)?["next"].as_u64()
}

fn address(addresses: &Value, name: &str) -> Result<SocketAddr> {
    let text = addresses[name].as_str().with_context(|| format!("addresses.json names no {name}: {addresses}"))?;
    text.parse().with_context(|| format!("{name} = {text:?}"))
}
