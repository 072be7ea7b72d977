//! The binary: reads the command line, and runs one command of the library on a pool of threads.

use std::process::ExitCode;

use clap::Parser;
use syncline::cli::{Cli, usage_exit};

/// Threads for sockets and timers; heavy work on documents has its own.
const FEWEST_THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_exit(&error),
    };
    let threads = std::thread::available_parallelism().map_or(FEWEST_THREADS, |cores| cores.get());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(FEWEST_THREADS))
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(cli.run());
            // A read of standard input that nobody waits for any more must not hold up the exit.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            ExitCode::FAILURE
        }
    }
}
