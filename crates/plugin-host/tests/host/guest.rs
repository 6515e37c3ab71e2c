//! Small components written in WebAssembly text and wrapped against the newest of `wit/`: what they do wrong, no
//! compiler of a real language lets them do.

use plugin_host::{Compiler, ConfiguredPlugin, EngineConfig, InstanceLimits, Plugin, PluginEngine, Position};
use serde_json::{Value, json};
use std::fmt::Write as _;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// The contract, as released.
pub(crate) const WIT: &str = include_str!("../../../../wit/v1.1/plugin.wit");

/// Places in the guest's memory.
pub(crate) const SUBJECT_AT: u32 = 256;
const NAME_AT: u32 = 1_024;
const VERSION_AT: u32 = 1_100;
const MIGRATES_FROM_AT: u32 = 1_200;
const SCHEMA_AT: u32 = 2_048;
/// Where answers are built.
pub(crate) const ANSWER_AT: u32 = 64;
/// Where proposals are built.
pub(crate) const PROPOSALS_AT: u32 = 512;
/// Bytes from one proposal to the next.
pub(crate) const PROPOSAL_BYTES: u32 = 48;
/// The subject of every proposal.
pub(crate) const SUBJECT: &str = "depot";

/// A plugin to be: the bodies are instructions of WebAssembly text.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) schema: Value,
    pub(crate) state_version: u32,
    pub(crate) row_bytes: u32,
    /// It migrates from state version 1 on, so many versions.
    pub(crate) migrates_from: u32,
    /// More imports.
    pub(crate) imports: String,
    /// More memories, tables and functions.
    pub(crate) extra: String,
    pub(crate) describe_first: String,
    /// Has `$config` and `$config_len`; leaves the address of a result.
    pub(crate) configure: String,
    /// Has `$from`, `$row_bytes`, `$rows`, `$rows_len`; leaves the address of a result.
    pub(crate) migrate: String,
    /// Has `$positions`, `$count`, `$rows`, `$rows_len`; leaves the address of a result.
    pub(crate) evaluate: String,
    /// The world, by its name in the text of `wit`.
    pub(crate) world: &'static str,
    pub(crate) wit: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            name: "test-rule",
            version: "1.0.0",
            schema: json!({"type": "object"}),
            state_version: 1,
            row_bytes: 8,
            migrates_from: 0,
            imports: String::new(),
            extra: String::new(),
            describe_first: String::new(),
            configure: format!("(i32.store8 (i32.const {ANSWER_AT}) (i32.const 0)) (i32.const {ANSWER_AT})"),
            migrate: "unreachable".into(),
            evaluate: answer(0),
            world: "plugin",
            wit: WIT.into(),
        }
    }
}

/// Answers with the rows that came and the first `count` proposals at [`PROPOSALS_AT`].
pub(crate) fn answer(count: u32) -> String {
    answer_with(count, "(local.get $rows)", "(local.get $rows_len)")
}

/// Answers with `count` proposals and the rows that lie there.
pub(crate) fn answer_with(count: u32, rows: &str, rows_len: &str) -> String {
    format!(
        "(i32.store8 (i32.const {ANSWER_AT}) (i32.const 0))
         (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {PROPOSALS_AT}))
         (i32.store offset=8 (i32.const {ANSWER_AT}) (i32.const {count}))
         (i32.store offset=12 (i32.const {ANSWER_AT}) {rows})
         (i32.store offset=16 (i32.const {ANSWER_AT}) {rows_len})
         (i32.const {ANSWER_AT})"
    )
}

/// Answers that something is wrong, in the words of [`SUBJECT`].
pub(crate) fn refusal() -> String {
    format!(
        "(i32.store8 (i32.const {ANSWER_AT}) (i32.const 1))
         (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {SUBJECT_AT}))
         (i32.store offset=8 (i32.const {ANSWER_AT}) (i32.const {}))
         (i32.const {ANSWER_AT})",
        SUBJECT.len()
    )
}

/// Writes the first proposal: of the reading with that index, of `kind`, at the first reading's time, without details.
pub(crate) fn proposal(reading: u32, kind: u32) -> String {
    format!(
        "(i32.store (i32.const {PROPOSALS_AT}) (i32.const {reading}))
         (i32.store offset=4 (i32.const {PROPOSALS_AT}) (i32.const {kind}))
         (i64.store offset=8 (i32.const {PROPOSALS_AT}) (i64.load offset=16 (local.get $positions)))
         (f64.store offset=16 (i32.const {PROPOSALS_AT}) (f64.const 1.5))
         (i32.store offset=24 (i32.const {PROPOSALS_AT}) (i32.const {SUBJECT_AT}))
         (i32.store offset=28 (i32.const {PROPOSALS_AT}) (i32.const {}))
         (i32.store8 offset=32 (i32.const {PROPOSALS_AT}) (i32.const 0))",
        SUBJECT.len()
    )
}

/// Gives the first proposal details: the config's schema, which is a JSON object.
pub(crate) fn details(bytes: u32) -> String {
    format!(
        "(i32.store8 offset=32 (i32.const {PROPOSALS_AT}) (i32.const 1))
         (i32.store offset=36 (i32.const {PROPOSALS_AT}) (i32.const {SCHEMA_AT}))
         (i32.store offset=40 (i32.const {PROPOSALS_AT}) (i32.const {bytes}))"
    )
}

/// Logs a line `times` times.
pub(crate) fn log_lines(times: u32) -> String {
    format!(
        "(local $i i32)
         (loop $again
           (call $log (i32.const 1) (i32.const {SUBJECT_AT}) (i32.const {}))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))",
        SUBJECT.len()
    )
}

impl Guest {
    /// The module in the component.
    pub(crate) fn core_module(&self) -> Vec<u8> {
        let schema = self.schema.to_string();
        let heap_at = (SCHEMA_AT as usize + schema.len()).next_multiple_of(1_024);
        let data = [
            (SUBJECT_AT, SUBJECT.to_owned()),
            (NAME_AT, self.name.to_owned()),
            (VERSION_AT, self.version.to_owned()),
            (SCHEMA_AT, schema.clone()),
        ];
        let data = data.iter().fold(String::new(), |mut text, (at, bytes)| {
            let escaped = bytes.bytes().fold(String::new(), |mut text, byte| {
                write!(text, "\\{byte:02x}").unwrap();
                text
            });
            writeln!(text, "(data (i32.const {at}) \"{escaped}\")").unwrap();
            text
        });
        let Self { imports, extra, describe_first, configure, migrate, evaluate, state_version, row_bytes, .. } = self;
        let migrates_from = self.migrates_from;
        let state_versions: String =
            (1..=migrates_from).map(|version| format!("\\{version:02x}\\00\\00\\00")).collect();
        let (name_len, version_len, schema_len) = (self.name.len(), self.version.len(), schema.len());
        let text = format!(
            r#"(module
              (import "drover:plugin/log@1.1.0" "write" (func $log (param i32 i32 i32)))
              {imports}
              (memory (export "memory") 2)
              {extra}
              (data (i32.const {MIGRATES_FROM_AT}) "{state_versions}")
              (global $top (mut i32) (i32.const {heap_at}))
              {data}
              (func (export "cabi_realloc") (param $old i32) (param $old_len i32) (param $align i32) (param $len i32)
                (result i32) (local $at i32) (local $pages i32)
                (local.set $at (i32.and
                  (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                  (i32.sub (i32.const 0) (local.get $align))))
                (global.set $top (i32.add (local.get $at) (local.get $len)))
                (local.set $pages (i32.sub
                  (i32.shr_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 16)) (memory.size)))
                (if (i32.gt_s (local.get $pages) (i32.const 0))
                  (then (if (i32.lt_s (memory.grow (local.get $pages)) (i32.const 0)) (then unreachable))))
                (local.get $at))
              (func (export "drover:plugin/rule@1.1.0#describe") (result i32)
                {describe_first}
                (i32.store (i32.const {ANSWER_AT}) (i32.const {NAME_AT}))
                (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {name_len}))
                (i32.store offset=8 (i32.const {ANSWER_AT}) (i32.const {VERSION_AT}))
                (i32.store offset=12 (i32.const {ANSWER_AT}) (i32.const {version_len}))
                (i32.store8 offset=16 (i32.const {ANSWER_AT}) (i32.const 0))
                (i32.store offset=20 (i32.const {ANSWER_AT}) (i32.const {state_version}))
                (i32.store offset=24 (i32.const {ANSWER_AT}) (i32.const {row_bytes}))
                (i32.store offset=28 (i32.const {ANSWER_AT}) (i32.const {SCHEMA_AT}))
                (i32.store offset=32 (i32.const {ANSWER_AT}) (i32.const {schema_len}))
                (i32.const {ANSWER_AT}))
              (func (export "drover:plugin/rule@1.1.0#configure") (param $config i32) (param $config_len i32)
                (result i32) {configure})
              (func (export "drover:plugin/rule@1.1.0#migrates-from") (result i32)
                (i32.store (i32.const {ANSWER_AT}) (i32.const {MIGRATES_FROM_AT}))
                (i32.store offset=4 (i32.const {ANSWER_AT}) (i32.const {migrates_from}))
                (i32.const {ANSWER_AT}))
              (func (export "drover:plugin/rule@1.1.0#migrate")
                (param $from i32) (param $row_bytes i32) (param $rows i32) (param $rows_len i32) (result i32) {migrate})
              (func (export "drover:plugin/rule@1.1.0#evaluate")
                (param $positions i32) (param $count i32) (param $rows i32) (param $rows_len i32) (result i32)
                {evaluate})
              (func (export "cabi_post_drover:plugin/rule@1.1.0#evaluate") (param i32)
                (global.set $top (i32.const {heap_at})))
            )"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        wrapped(self.core_module(), &self.wit, self.world)
    }

    /// The plugin, loaded by an engine of its own.
    pub(crate) fn plugin(&self) -> Plugin {
        engine().load(&self.component()).unwrap()
    }

    /// The plugin with an empty config.
    pub(crate) fn configured(&self) -> ConfiguredPlugin {
        self.plugin().configure(&json!({})).unwrap()
    }
}

/// A core module as a component of that world.
pub(crate) fn wrapped(mut module: Vec<u8>, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("plugin.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// Limits for tests: as shipped, but for time, which is generous: the machine may do much else.
pub(crate) fn limits() -> InstanceLimits {
    InstanceLimits { batch_ms_max: 5_000, configure_ms_max: 20_000, ..InstanceLimits::default() }
}

/// An engine without a cache that compiles in the test's process.
pub(crate) fn engine() -> PluginEngine {
    engine_with(limits())
}

pub(crate) fn engine_with(limits: InstanceLimits) -> PluginEngine {
    PluginEngine::new(EngineConfig { limits, compiler: Compiler::InProcess, ..EngineConfig::default() }).unwrap()
}

/// `count` positions of one vehicle each, a second apart, with row `i` for vehicle `i`.
pub(crate) fn positions(count: u32) -> Vec<Position> {
    use fleet_model::{Reading, Sequence, Timestamp, VehicleKey};
    let position = |slot: u32| {
        let time = Timestamp(1_700_000_000_000 + i64::from(slot) * 1_000);
        let reading = Reading::fix(time, time, 52.2 + f64::from(slot) * 1e-4, 21.0);
        Position::of(VehicleKey(u64::from(slot) + 1), Sequence(1), &reading, slot)
    };
    (0..count).map(position).collect()
}
