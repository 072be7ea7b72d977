//! Token files: the list of tokens that a node takes, and the one token that is shown.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ConfigError;
use crate::base::limits::MAX_TOKEN_FILE_BYTES;
use crate::http::{Token, read_tokens};

/// The permission bit that lets everybody on the machine read a file.
const READ_BY_ALL: u32 = 0o004;

/// The tokens in a file, and whether everybody on this machine can read it.
///
/// # Errors
/// When it cannot be read, or has a line that is none.
pub fn read_token_file(path: &Path) -> Result<(Vec<Token>, bool), ConfigError> {
    let (text, open) = read(path)?;
    let tokens = read_tokens(&text).map_err(|e| refused(path, e.to_string()))?;
    Ok((tokens, open))
}

/// The first word in a file that is not a comment: so it may hold one token alone, or be a list of them.
///
/// # Errors
/// When it cannot be read, or has none.
pub fn first_token(path: &Path) -> Result<String, ConfigError> {
    let (text, _) = read(path)?;
    let words = text.lines().filter_map(|line| line.split('#').next()?.split_whitespace().next());
    let token = words.map(str::to_owned).next();
    token.ok_or_else(|| refused(path, "there is no token in it".into()))
}

fn read(path: &Path) -> Result<(String, bool), ConfigError> {
    let failed = |error: std::io::Error| refused(path, error.to_string());
    let about = std::fs::metadata(path).map_err(failed)?;
    if about.len() > MAX_TOKEN_FILE_BYTES as u64 {
        return Err(refused(path, format!("more than {MAX_TOKEN_FILE_BYTES} bytes are no list of tokens")));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((text, about.permissions().mode() & READ_BY_ALL != 0))
}

fn refused(path: &Path, reason: String) -> ConfigError {
    ConfigError::Tokens { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[test]
    fn a_list_of_tokens_is_read_and_who_else_can_read_it_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), "# people\n0123456789abcdef read,write\n").unwrap();
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            let (tokens, found) = read_token_file(file.path()).unwrap();
            assert_eq!((tokens.len(), found), (1, open), "{mode:o}");
        }
        write(file.path(), "0123456789abcdef all\n").unwrap();
        let error = read_token_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("0123456789abcdef"), "{error}");
    }

    #[test]
    fn the_first_token_of_a_file_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), "# people\n\n  abc read,write\ndef peer\n").unwrap();
        assert_eq!(first_token(file.path()).unwrap(), "abc");
        write(file.path(), "alone").unwrap();
        assert_eq!(first_token(file.path()).unwrap(), "alone");
        write(file.path(), "# nobody\n").unwrap();
        assert!(matches!(first_token(file.path()), Err(ConfigError::Tokens { .. })));
        assert!(matches!(first_token(Path::new("not there")), Err(ConfigError::Tokens { .. })));
    }
}
