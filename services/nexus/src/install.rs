//! `nexus install`: fetches the servers, and the model on request, so that later starts need no
//! network.

use nexus_devstack::{Cache, Progress, install_all};

use crate::failure::Failure;

/// How `nexus install` is called.
#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    /// Fetch the local model too (500 MB)
    #[arg(long)]
    model: bool,
}

/// Fetches what is missing and says where everything is.
///
/// # Errors
/// [`Failure::Devstack`]: it cannot be had; the text says what to install instead.
pub(crate) async fn install(arguments: InstallArgs) -> Result<(), Failure> {
    let cache = Cache::discover()?;
    let progress = Progress::new(|line: &str| eprintln!("{line}"));
    let installed = install_all(&cache, &progress, arguments.model).await?;
    println!(
        "nats-server {} at {}",
        installed.nats.version,
        installed.nats.path.display()
    );
    let postgres = &installed.postgres;
    println!(
        "PostgreSQL {} in {}",
        postgres.version,
        postgres.bin_dir.display()
    );
    if arguments.model {
        println!("the local model is in {}", cache.dir().display());
    }
    Ok(())
}
