//! `demo`: a whole cluster in one process on loopback, with people who write at its masters.

mod people;
mod watch;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::Args;
use tokio::task::JoinSet;

use self::people::{LETTER, Told};
use super::client::Client;
use super::output::{Failure, print, to_terminal};
use super::scratch::Scratch;
use super::signals::Signals;
use super::table::{Align, table};
use crate::base::Role;
use crate::config::{PORT, Settings};
use crate::net::PeerUrl;
use crate::server::{Server, ServerError};
use crate::telemetry;

/// Nodes of one kind. Each has a store of its own, with a memory budget of its own.
const MOST: i64 = 9;

#[derive(Args)]
pub struct Demo {
    /// Masters, each linked with all others
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=MOST))]
    masters: u16,

    /// Replicas: the first follows a master, the others follow replicas
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=MOST))]
    replicas: u16,

    /// What to log to standard error, as for `serve`
    #[arg(
        long,
        env = "SYNCLINE_LOG",
        value_name = "FILTER",
        default_value = "error",
        hide_env_values = true
    )]
    log: String,
}

/// A node of the demo, and whom it follows.
struct Member {
    server: Server,
    role: Role,
    url: PeerUrl,
    follows: Option<String>,
}

impl Demo {
    pub async fn run(self) -> Result<(), Failure> {
        telemetry::start(&self.log, false).map_err(|error| Failure::usage(error.to_string()))?;
        let signals = Signals::listen().map_err(|error| Failure::refused(format!("signals: {error}")))?;
        let stop = signals.stop();
        tokio::pin!(stop);
        let scratch = Scratch::new("demo", None)?;
        let mut members = Vec::new();
        let shown = tokio::select! {
            shown = self.play(scratch.path(), &mut members) => shown,
            () = &mut stop => Ok(()),
        };
        if to_terminal() {
            // What comes next is not to be written over the last line. Where the terminal has gone, nothing is.
            let _ = print("\n");
        }
        // All at once: each may need its time, and together they have no more.
        let mut stops: JoinSet<()> = members.into_iter().map(|member| member.server.stop()).collect();
        while stops.join_next().await.is_some() {}
        shown
    }

    /// Starts the nodes one after the other into `members`, then shows them until something fails.
    async fn play(&self, folder: &Path, members: &mut Vec<Member>) -> Result<(), Failure> {
        for n in 1..=self.masters {
            let name = format!("m{n}");
            // Those before are enough: a link is used both ways.
            let peers = members.iter().map(|member| member.url.clone()).collect();
            let settings = Settings { name: Some(name), peers, ..Settings::default() };
            members.push(start(settings, folder, members.len(), None).await?);
        }
        for n in 1..=self.replicas {
            // A tree: two replicas follow each.
            let upstream = if n == 1 { "m1".to_owned() } else { format!("r{}", n / 2) };
            let followed = members.iter().find(|member| member.server.name() == upstream);
            let settings = Settings {
                name: Some(format!("r{n}")),
                role: Role::Replica,
                upstreams: followed.map(|member| member.url.clone()).into_iter().collect(),
                ..Settings::default()
            };
            members.push(start(settings, folder, members.len(), Some(upstream)).await?);
        }
        print(welcome(members, folder))?;
        let masters = members.iter().filter(|member| member.role == Role::Master);
        let masters: Vec<Client> = masters.map(|member| Client::new(member.url.clone(), None)).collect();
        let told = Told::default();
        let nodes: Vec<_> =
            members.iter().map(|m| (m.server.name().to_owned(), m.server.node().clone())).collect();
        tokio::select! {
            end = people::write(masters, &told) => end,
            end = watch::show(&nodes, &told) => end,
        }
    }
}

/// At the port that people expect where it is free, else at any.
async fn start(
    settings: Settings,
    folder: &Path,
    nth: usize,
    follows: Option<String>,
) -> Result<Member, Failure> {
    let usual = u16::try_from(nth).ok().and_then(|nth| PORT.checked_add(nth)).unwrap_or_default();
    let settings = Settings {
        cluster: "demo".into(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, usual)),
        data_dir: folder.join(settings.name.as_deref().unwrap_or_default()),
        ..settings
    };
    let role = settings.role;
    let started = match Server::start(settings.clone()).await {
        Err(ServerError::InUse { .. }) => {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Server::start(Settings { listen, ..settings }).await
        }
        started => started,
    };
    let server = started?;
    let url = server.url().parse().map_err(|error| Failure::refused(format!("{error}")))?;
    Ok(Member { server, role, url, follows })
}

fn welcome(members: &[Member], folder: &Path) -> String {
    let follows =
        |member: &Member| member.follows.as_ref().map_or(String::new(), |up| format!("follows {up}"));
    let rows: Vec<_> = members
        .iter()
        .map(|m| [m.server.name().to_owned(), m.role.to_string(), m.url.to_string(), follows(m)])
        .collect();
    let heads = [("NODE", Align::Left), ("ROLE", Align::Left), ("URL", Align::Left), ("", Align::Left)];
    let table = table(heads, &rows);
    // Read as far as possible from where is written.
    let near = members.first().map_or("", |member| member.server.url());
    let far = members.last().map_or("", |member| member.server.url());
    format!(
        "A Syncline cluster in this one process. Its data is in {} and goes away with it.\n\n\
         {table}\n\
         At each master somebody writes. In another terminal, read it elsewhere, join in, and see who has what:\n\n\
         \x20 curl '{far}/v1/docs/{LETTER}'\n\
         \x20 curl -X PATCH '{near}/v1/docs/{LETTER}' -H 'Content-Type: application/merge-patch+json' \
         -d '{{\"title\": \"Ours\"}}'\n\
         \x20 curl '{far}/v1/cluster'\n\n\
         Ctrl-C ends it all.\n\n",
        folder.display()
    )
}
