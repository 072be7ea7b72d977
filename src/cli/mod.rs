//! Commands, each a file.
//!
//! A command returns `Ok`, or a [`Failure`]: one line on standard error, and the exit code that scripts
//! go by.

mod bench;
mod client;
mod cluster;
mod config;
mod demo;
mod doc;
mod generated;
mod output;
mod progress;
mod scratch;
mod serve;
mod signals;
mod subscriber;
mod table;
mod transfer;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::Failure;

/// JSON documents on several masters at once, and on trees of replicas, that always converge.
#[derive(Parser)]
#[command(name = "syncline", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one node of a cluster
    Serve(serve::Serve),
    /// Run a whole cluster in this process, with people who write, to look at
    Demo(demo::Demo),
    /// Read, write and list documents
    Doc(doc::Doc),
    /// See how the nodes of a cluster stand
    Cluster(cluster::Cluster),
    /// Check the settings of a node, or show them
    Config(config::Config),
    /// Look through a data folder for damage, while no node runs on it
    Verify(verify::Verify),
    /// Measure, with nodes of its own on this machine
    Bench(bench::Bench),
    /// Print a script that completes this program's commands in a shell
    Completions(generated::Completions),
    /// Print the manual, or write its pages
    Man(generated::Manual),
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 refused or failed, of an import also one line; 2 wrong usage; 3 no such document or version; 4 node not reached.
Errors are one line on standard error.";

impl Cli {
    /// Runs the command to its end.
    pub async fn run(self) -> ExitCode {
        let done: Result<(), Failure> = match self.command {
            Command::Serve(serve) => serve.run().await,
            Command::Demo(demo) => demo.run().await,
            Command::Doc(doc) => doc.run().await,
            Command::Cluster(cluster) => cluster.run().await,
            Command::Config(config) => config.run(),
            Command::Verify(verify) => verify.run().await,
            Command::Bench(bench) => bench.run().await,
            Command::Completions(completions) => completions.run(Self::command()),
            Command::Man(manual) => manual.run(Self::command()),
        };
        output::exit(done)
    }
}

/// Says what is wrong with the command line, or the help that was asked for.
pub fn usage_exit(error: &clap::Error) -> ExitCode {
    // Where nobody reads, there is nobody to tell.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
