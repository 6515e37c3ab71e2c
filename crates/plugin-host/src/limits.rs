//! What a plugin may cost.

/// Largest component that is taken, in bytes: one that carries Python.
pub const UPLOAD_BYTES_MAX: usize = 20 * 1024 * 1024;
/// A component of more bytes carries an interpreter with its library: it may have more memory and more time to compile.
pub(crate) const SMALL_COMPONENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a large component for each further second of compiling.
const LARGE_BYTES_PER_S: usize = 128 * 1024;
/// Largest config, in bytes of compact JSON. Room for 100,000 corners of zones with all their digits.
pub const CONFIG_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest row of state per vehicle, in bytes.
pub const ROW_BYTES_MAX: u32 = 4 * 1024;
/// Longest subject of a proposal, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// Longest details of a proposal, in bytes of JSON. `wit/v1` says it to authors.
pub const DETAILS_BYTES_MAX: usize = 2_048;
/// Largest compiled artifact, in bytes. Machine code is a few times the size of the component.
pub(crate) const ARTIFACT_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Most of what `describe` may answer, in bytes.
pub(crate) const DESCRIPTOR_BYTES_MAX: usize = 256 * 1024;
/// Longest text of a plugin's or a compiler's complaint that is kept, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_024;
/// Stack of the guest, in bytes.
pub(crate) const WASM_STACK_BYTES: usize = 512 * 1024;
/// Core instances, memories and tables of one component. An interpreter with its library is made of some twenty.
pub(crate) const CORE_PARTS_MAX: usize = 64;

/// What one instance of a plugin may use. Counted per instance, and the time per call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLimits {
    /// All linear memories together, in bytes. Default 16 MiB.
    pub memory_bytes_max: usize,
    /// The same for a component of more than 2 MiB, which carries an interpreter. Default 64 MiB.
    pub large_memory_bytes_max: usize,
    /// Elements of all tables together. Default 20,000.
    pub table_elements_max: usize,
    /// CPU time of one `evaluate` or `migrate`, in milliseconds; 20 times as much by the clock on the wall. A batch takes
    /// well under one. Default 50.
    pub batch_ms_max: u64,
    /// CPU time to start an instance, and again for its `describe` or `configure`, in milliseconds; 20 times as much by
    /// the clock on the wall. Default 2,000.
    pub configure_ms_max: u64,
    /// Bytes a batch may answer beyond its rows. Default 4 MiB.
    pub output_bytes_max: usize,
    /// Proposals in one answer. Default 16,384.
    pub proposals_max: usize,
    /// Lines a plugin may log in one call; further ones are counted and dropped. Default 16.
    pub log_lines_max: u32,
    /// Bytes a plugin may log in one call. Default 4 KiB.
    pub log_bytes_max: usize,
}

impl Default for InstanceLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 16 * 1024 * 1024,
            large_memory_bytes_max: 64 * 1024 * 1024,
            table_elements_max: 20_000,
            batch_ms_max: 50,
            configure_ms_max: 2_000,
            output_bytes_max: 4 * 1024 * 1024,
            proposals_max: 16_384,
            log_lines_max: 16,
            log_bytes_max: 4 * 1024,
        }
    }
}

/// What compiling one component may use. A hostile module of 68 KB compiles for most of a minute, one of 0.8 MB takes
/// 450 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time of the child process, in seconds. Default 20.
    pub cpu_s_max: u64,
    /// Address space of the child process, in bytes. Default 2 GiB: allocators reserve more than they use.
    pub memory_bytes_max: u64,
    /// Wall time, in milliseconds. Default 60,000.
    pub wall_ms_max: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { cpu_s_max: 20, memory_bytes_max: 2 * 1024 * 1024 * 1024, wall_ms_max: 60_000 }
    }
}

impl InstanceLimits {
    /// The limit of memory for a component of so many bytes.
    pub(crate) fn memory_for(&self, component_bytes: usize) -> usize {
        if component_bytes > SMALL_COMPONENT_BYTES_MAX { self.large_memory_bytes_max } else { self.memory_bytes_max }
    }
}

impl CompileLimits {
    /// The limits for a component of so many bytes: a large one takes longer by its size, and twice the memory.
    pub(crate) fn for_component(&self, bytes: usize) -> Self {
        if bytes <= SMALL_COMPONENT_BYTES_MAX {
            return self.clone();
        }
        let more_s = (bytes / LARGE_BYTES_PER_S) as u64;
        Self {
            cpu_s_max: self.cpu_s_max + more_s,
            memory_bytes_max: self.memory_bytes_max.saturating_mul(2),
            wall_ms_max: self.wall_ms_max + more_s * 1_000,
        }
    }
}

/// `text` cut to at most `bytes_max` bytes, between characters.
pub(crate) fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
