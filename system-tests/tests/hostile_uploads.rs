//! Mutated components through the real way in: HTTPS, size cap, signature, checks, the compiler's child process. Whatever
//! comes, the answer is a component or a problem, the cloud lives in bounded memory, and nothing of a refused upload stays.
//!
//! The seed of each upload is printed when something is wrong; `DROVER_FUZZ_SEED=N` tries only that one.
//! `DROVER_FUZZ_UPLOADS=5000` tries so many instead of a few seconds' worth.

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use system_tests::fleet::{Fleet, Setup};
use system_tests::{Programs, Semantics};

/// How many uploads are tried, when not [`BUDGET`] ends it first.
const UPLOADS_VARIABLE: &str = "DROVER_FUZZ_UPLOADS";
const SEED_VARIABLE: &str = "DROVER_FUZZ_SEED";
const UPLOADS: u64 = 400;
/// For as long mutants are sent, when nobody says how many.
const BUDGET: Duration = Duration::from_secs(20);
/// What the cloud's memory may grow by at its peak: the largest upload several times, and what a component's instance may
/// have. Compiling is its child's.
const GROWTH_KIB_MAX: u64 = 512 * 1024;
/// Tried again by a test of its own.
const REPLAYED_SEED: u64 = 7;
const HEADER_LEN: usize = 8;
/// The status of a component whose name and version another one has.
const TAKEN: u16 = 409;

#[derive(Debug, Clone, Copy)]
enum Mutation {
    BitFlips,
    Truncation,
    SectionSwap,
    SectionTwice,
    SectionLength,
    Concatenation,
    Noise,
    ManyFunctions,
    ForeignSignature,
}

const MUTATIONS: [Mutation; 9] = [
    Mutation::BitFlips,
    Mutation::Truncation,
    Mutation::SectionSwap,
    Mutation::SectionTwice,
    Mutation::SectionLength,
    Mutation::Concatenation,
    Mutation::Noise,
    Mutation::ManyFunctions,
    Mutation::ForeignSignature,
];

/// What is sent.
#[derive(Debug)]
struct Upload {
    wasm: Vec<u8>,
    query: &'static str,
    mutation: Mutation,
}

/// The same upload for the same seed.
fn upload_of(seed: u64, originals: &[Vec<u8>]) -> Upload {
    let mut random = StdRng::seed_from_u64(seed);
    let mutation = MUTATIONS[random.random_range(0..MUTATIONS.len())];
    let original = &originals[random.random_range(0..originals.len())];
    let mut wasm = original.clone();
    match mutation {
        Mutation::BitFlips => {
            for _ in 0..random.random_range(1..20) {
                let at = random.random_range(0..wasm.len());
                wasm[at] ^= 1 << random.random_range(0..8);
            }
        }
        Mutation::Truncation => wasm.truncate(random.random_range(0..original.len())),
        Mutation::SectionSwap => {
            let mut sections = sections(original);
            let (one, other) = (random.random_range(0..sections.len()), random.random_range(0..sections.len()));
            sections.swap(one, other);
            wasm = [&original[..HEADER_LEN], &sections.concat()].concat();
        }
        Mutation::SectionTwice => {
            let mut sections = sections(original);
            let section = sections[random.random_range(0..sections.len())];
            sections.insert(random.random_range(0..=sections.len()), section);
            wasm = [&original[..HEADER_LEN], &sections.concat()].concat();
        }
        Mutation::SectionLength => {
            let before = random.random_range(0..sections(original).len());
            let at = HEADER_LEN + sections(original)[..before].iter().map(|section| section.len()).sum::<usize>() + 1;
            wasm[at] = random.random();
            // Where it goes on, the next byte belongs to the length.
            wasm[at + 1] = random.random();
        }
        Mutation::Concatenation => wasm.extend_from_slice(&originals[random.random_range(0..originals.len())]),
        Mutation::Noise => {
            let from = random.random_range(0..wasm.len());
            random.fill(&mut wasm[from..]);
        }
        Mutation::ManyFunctions => wasm.extend(many_functions(random.random_range(1_000..20_000))),
        Mutation::ForeignSignature => {}
    }
    let query = match mutation {
        Mutation::ForeignSignature => "?signature=%00%ffAAAA",
        _ => "",
    };
    Upload { wasm, query, mutation }
}

/// The sections behind the header, each with its id and length.
fn sections(wasm: &[u8]) -> Vec<&[u8]> {
    let (mut sections, mut rest) = (Vec::new(), &wasm[HEADER_LEN..]);
    while !rest.is_empty() {
        let (mut length, mut digits) = (0, 1);
        while let Some(byte) = rest.get(digits) {
            length |= usize::from(byte & 0x7f) << (7 * (digits - 1));
            digits += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (section, more) = rest.split_at((digits + length).min(rest.len()));
        sections.push(section);
        rest = more;
    }
    sections
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb128(content.len()), content].concat()
}

/// One more module for a component: so many functions of a few bytes each, which compile to many more.
fn many_functions(count: usize) -> Vec<u8> {
    let types = section(1, &[1, 0x60, 0, 0]);
    let functions = section(3, &[leb128(count), vec![0; count]].concat());
    // No locals; 12 branches into a block and its end.
    let body = [&[0][..], &[0x02, 0x40, 0x41, 0, 0x0d, 0, 0x0b].repeat(12), &[0x0b]].concat();
    let code = [leb128(body.len()), body].concat();
    let code = section(10, &[leb128(count), code.repeat(count)].concat());
    let module = [&b"\0asm\x01\0\0\0"[..], &types, &functions, &code].concat();
    section(1, &module)
}

struct Answer {
    status: u16,
    kind: String,
    body: Value,
}

fn send(fleet: &Fleet, upload: &Upload) -> Result<Answer> {
    let file = fleet.directory().join("upload.wasm");
    std::fs::write(&file, &upload.wasm)?;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "120", "--write-out", "\n%{http_code} %{content_type}"])
        .arg("--cacert")
        .arg(fleet.directory().join("certs/ca.pem"))
        .args(["--header", &format!("Authorization: Bearer {}", fleet.api_key())])
        .args(["--header", "Content-Type: application/wasm", "--header", "Expect:"])
        .arg("--data-binary")
        .arg(format!("@{}", file.display()))
        .arg(format!("https://localhost:{}/v1/plugins{}", fleet.serving().port(), upload.query))
        .output()
        .context("start curl")?;
    let text = String::from_utf8(output.stdout)?;
    let (body, end) = text.rsplit_once('\n').context("curl wrote no status")?;
    let (status, kind) = end.split_once(' ').context("curl wrote no type")?;
    let body = serde_json::from_str(body)
        .with_context(|| format!("{end}: {body:?} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Answer { status: status.parse()?, kind: kind.to_owned(), body })
}

/// Whether it was kept; an error when the answer is neither that nor a clear problem.
fn is_kept(answer: &Answer) -> Result<bool> {
    let Answer { status, kind, body } = answer;
    if matches!(status, 200 | 201) {
        return Ok(true);
    }
    ensure!(matches!(status, 403 | 409 | 413 | 422), "status {status}: {body}");
    ensure!(kind == "application/problem+json", "{status} as {kind}");
    ensure!(body["type"].as_str().is_some_and(|it| it.starts_with("urn:drover:problem:")), "{body}");
    ensure!(body["status"] == *status && body["detail"].as_str().is_some_and(|it| !it.is_empty()), "{body}");
    Ok(false)
}

/// What lies in a folder of the cloud's, by name.
fn files(fleet: &Fleet, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(fleet.directory().join("cloud").join(folder))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The most memory that the cloud has had, KiB.
fn peak_kib(fleet: &Fleet) -> Result<u64> {
    let (cloud, _) = fleet.process_ids();
    let status = std::fs::read_to_string(format!("/proc/{cloud}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse()?)
}

/// Children of the cloud that have not ended, or that nobody has waited for.
fn children(fleet: &Fleet) -> Result<String> {
    let (cloud, _) = fleet.process_ids();
    let mut children = String::new();
    for task in std::fs::read_dir(format!("/proc/{cloud}/task"))? {
        children += &std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
    }
    Ok(children)
}

fn originals(programs: &Programs) -> Result<Vec<Vec<u8>>> {
    let kept =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/plugin-host/tests/golden/hello-geofence-for-1.0.wasm");
    Ok(vec![std::fs::read(kept)?, std::fs::read(programs.geofence())?])
}

/// Sends the uploads of `seeds` until `deadline`, and answers how many.
fn fuzz(seeds: impl Iterator<Item = u64>, budget: Option<Duration>) -> Result<u64> {
    let scratch = tempfile::tempdir()?;
    let programs = Programs::beside_this_test()?;
    let originals = originals(&programs)?;
    let mut fleet = Fleet::start(programs.clone(), scratch.path(), Setup::new(Semantics::Normal))?;
    let (began, at_first, mut tried) = (Instant::now(), peak_kib(&fleet)?, 0);
    for seed in seeds {
        if budget.is_some_and(|budget| began.elapsed() > budget) {
            break;
        }
        let upload = upload_of(seed, &originals);
        let shown = || format!("{SEED_VARIABLE}={seed}: {:?}, {} bytes", upload.mutation, upload.wasm.len());
        let (components, cached) = (files(&fleet, "plugins")?, files(&fleet, "plugin-cache")?);
        let answer = send(&fleet, &upload).with_context(shown)?;
        if !is_kept(&answer).with_context(shown)? {
            ensure!(files(&fleet, "plugins")? == components, "{}: it left a component", shown());
            // One that is sound but whose name is taken stays compiled, in a cache of bounded size.
            let is_sound = answer.status == TAKEN;
            ensure!(is_sound || files(&fleet, "plugin-cache")? == cached, "{}: it left an artifact", shown());
        }
        fleet.check_alive().with_context(shown)?;
        ensure!(children(&fleet)?.is_empty(), "{}: a child is left", shown());
        let growth = peak_kib(&fleet)?.saturating_sub(at_first);
        ensure!(growth < GROWTH_KIB_MAX, "{}: the cloud has had {growth} KiB more", shown());
        tried += 1;
    }
    let good = fleet.run(fleet.drover().args(["plugin", "upload"]).arg(programs.pricing()))?;
    ensure!(good.contains("pricing"), "{good}");
    let growth = peak_kib(&fleet)?.saturating_sub(at_first);
    println!("{tried} uploads in {:?}, {growth} KiB more at the peak", began.elapsed());
    fleet.stop()?;
    Ok(tried)
}

#[test]
fn whatever_is_uploaded_is_kept_or_refused_with_a_reason() -> Result<()> {
    if let Ok(seed) = std::env::var(SEED_VARIABLE) {
        fuzz(std::iter::once(seed.parse()?), None)?;
        return Ok(());
    }
    let (uploads, budget) = match std::env::var(UPLOADS_VARIABLE) {
        Ok(uploads) => (uploads.parse()?, None),
        Err(_) => (UPLOADS, Some(BUDGET)),
    };
    ensure!(fuzz(0..uploads, budget)? > 0, "nothing was tried");
    Ok(())
}

#[test]
fn a_seed_is_the_same_upload_again() -> Result<()> {
    let originals = originals(&Programs::beside_this_test()?)?;
    let (one, again) = (upload_of(REPLAYED_SEED, &originals), upload_of(REPLAYED_SEED, &originals));
    ensure!((one.wasm == again.wasm) && one.query == again.query);
    ensure!(one.wasm != upload_of(REPLAYED_SEED + 1, &originals).wasm);
    ensure!(fuzz(std::iter::once(REPLAYED_SEED), None)? == 1);
    Ok(())
}
