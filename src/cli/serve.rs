//! `serve`: one node, until a signal stops it.

use std::path::PathBuf;

use clap::Args;

use super::output::{Failure, print};
use super::signals::Signals;
use crate::config::{Given, LogFormat, Settings};
use crate::http::Bounds;
use crate::net::PeerUrl;
use crate::server::{Server, repair};
use crate::telemetry;

const AFTER_HELP: &str = "\
Every setting comes from its flag, else its environment variable, else the file, else its default. In the \
file it has the name of its flag, and those that may be repeated are lists (in the environment, with commas):

    name = \"a\"
    listen = \"10.0.0.1:4380\"
    token-file = \"tokens\"
    peer = [\"http://10.0.0.2:4380\", \"http://10.0.0.3:4380\"]

Paths are taken from the folder in which the node is started. The node's URL is printed on standard output, \
logs go to standard error. SIGTERM or Ctrl-C stops the node in order within 5 s, a second one at once.

Exit codes: 0 stopped; 1 the node could not start, or failed; 2 wrong settings.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Serve {
    /// TOML file of settings
    #[arg(long, env = "SYNCLINE_CONFIG", value_name = "FILE", hide_env_values = true)]
    config: Option<PathBuf>,

    /// For tests, which cannot wait for the real ones: HEAD_MS,BODY_MS,STALL_MS,CONNECTIONS
    #[arg(long, hide = true, value_name = "BOUNDS")]
    http_bounds: Option<Bounds>,

    /// First look for damage in the data folder, and where there is any begin anew with what can be read of it; the
    /// damaged folder is kept beside
    #[arg(long)]
    repair: bool,

    #[command(flatten)]
    given: Given,
}

impl Serve {
    pub async fn run(self) -> Result<(), Failure> {
        let settings = self.given.settle(self.config.as_deref())?;
        let json = settings.log_format == LogFormat::Json;
        telemetry::start(&settings.log, json).map_err(|error| Failure::usage(error.to_string()))?;
        let signals = Signals::listen().map_err(|error| Failure::refused(format!("signals: {error}")))?;
        let stop = signals.stop();
        tokio::pin!(stop);
        let bounds = self.http_bounds.unwrap_or_default();
        let about = about(&settings);
        if self.repair {
            let folder = settings.data_dir.clone();
            let repaired = tokio::task::spawn_blocking(move || repair(&folder)).await;
            let repaired = repaired.map_err(|error| Failure::refused(error.to_string()))?;
            repaired.map_err(|error| Failure::refused(error.to_string()))?;
        }
        let server = tokio::select! {
            server = Server::start_within(settings, bounds) => server?,
            () = &mut stop => return Ok(()),
        };
        // First where it listens, which is what programs look for. Nobody needs to read it: a node whose
        // standard output is closed serves as well.
        let _ = print(format!(
            "syncline {} listens on http://{}\n{about}\n",
            env!("CARGO_PKG_VERSION"),
            server.local_addr()
        ));
        tokio::select! {
            () = &mut stop => {
                tracing::info!("stopping");
                server.stop().await;
                Ok(())
            }
            () = server.ended() => {
                server.stop().await;
                Err(Failure::refused("the node no longer takes connections; see its log"))
            }
        }
    }
}

/// What matters at a glance.
fn about(settings: &Settings) -> String {
    let linked = |word: &str, urls: &[PeerUrl]| {
        let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        if urls.is_empty() { String::new() } else { format!(", {word} {}", urls.join(", ")) }
    };
    format!(
        "{} of cluster {:?}, data in {}{}{}",
        settings.role,
        settings.cluster,
        settings.data_dir.display(),
        linked("links with", &settings.peers),
        linked("follows", &settings.upstreams),
    )
}
