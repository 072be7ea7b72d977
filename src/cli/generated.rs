//! `completions` and `man`: what shells and readers of manuals need, made from the command line's own definition.

use std::io;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::{Failure, print};

const COMPLETIONS_HELP: &str = "\
To install them:

    bash   syncline completions bash > ~/.local/share/bash-completion/completions/syncline
    zsh    syncline completions zsh > \"${fpath[1]}/_syncline\"
    fish   syncline completions fish > ~/.config/fish/completions/syncline.fish";

#[derive(Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct Completions {
    shell: Shell,
}

#[derive(Args)]
pub struct Manual {
    /// Write a page for each command into this folder instead, as syncline-serve.1
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Completions {
    /// Of this command line, to standard output.
    pub fn run(self, mut of: Command) -> Result<(), Failure> {
        let name = of.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut of, name, &mut script);
        Ok(print(script)?)
    }
}

impl Manual {
    /// Of this command line.
    pub fn run(self, of: Command) -> Result<(), Failure> {
        let failed = |what: String| move |error: io::Error| Failure::refused(format!("{what}: {error}"));
        let Some(dir) = self.dir else {
            let mut page = Vec::new();
            Man::new(of).render(&mut page).map_err(failed("the manual".into()))?;
            return Ok(print(page)?);
        };
        std::fs::create_dir_all(&dir)
            .and_then(|()| clap_mangen::generate_to(of, &dir))
            .map_err(failed(dir.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_completed_and_has_a_page() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "syncline", &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["serve", "--data-dir", "completions"] {
                assert!(script.contains(word.trim_start_matches('-')), "{shell}: {word}");
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("man1");
        Manual { dir: Some(dir.clone()) }.run(Cli::command()).expect("pages");
        for command in Cli::command().get_subcommands() {
            let page = std::fs::read_to_string(dir.join(format!("syncline-{}.1", command.get_name())));
            assert!(page.expect("a page").contains(command.get_name()));
        }
    }
}
