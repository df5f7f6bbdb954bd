//! What stops a run before or beside the requests: wrong usage, bad input, storage.
//!
//! A failed *request* is never an [`Error`]; it is a [`Failure`](crate::Failure) in its row's record. An error names the
//! file, the line and the field where it can, and says what to do. [`Error::kind`] is what an exit code is made of.

use std::path::{Path, PathBuf};

/// Setup, input or storage went wrong.
///
/// ```
/// use tidegate::{ErrorKind, Target};
/// if let Err(error) = Target::new("opnai/gpt-5") {
///     assert_eq!(error.kind(), ErrorKind::Usage);
///     println!("{error}"); // It says what was probably meant.
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option, a model name or a combination of settings is wrong.
    #[error("{0}")]
    Usage(String),
    /// A line of configuration is wrong.
    #[error("{file}: {message}", file = .file.display())]
    Config {
        /// The configuration file.
        file: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
    /// An input file, or a row of one, is wrong.
    #[error("{place}: {message}")]
    Input {
        /// The file, with the line where it is known, such as `rows.jsonl:17`.
        place: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Results exist that were made in another way, and the user has not said what to do with them.
    #[error("{0}")]
    Changed(String),
    /// Another process is writing the same output.
    #[error("{path} is in use by another tidegate process; wait for it, or choose another output with -o", path = .0.display())]
    InUse(PathBuf),
    /// The journal or the output cannot be read or written.
    #[error("{path}: {message}", path = .path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
        /// What the operating system said; the message repeats it, so it is no `source()`.
        cause: Option<std::io::Error>,
    },
}

/// The classes of [`Error`], one exit code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command, its configuration or its input is wrong.
    Usage,
    /// The disk is full, not writable or damaged.
    Storage,
    /// The output belongs to a running process.
    InUse,
}

impl Error {
    /// Returns the class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Usage(_) | Error::Config { .. } | Error::Input { .. } | Error::Changed(_) => ErrorKind::Usage,
            Error::InUse(_) => ErrorKind::InUse,
            Error::Storage { .. } => ErrorKind::Storage,
        }
    }

    /// Makes an error about an input file as a whole.
    pub(crate) fn input(file: impl std::fmt::Display, message: impl Into<String>) -> Error {
        Error::Input { place: file.to_string(), message: message.into() }
    }

    /// Makes an error about one line of an input file.
    pub(crate) fn input_line(file: impl std::fmt::Display, line: u64, message: impl Into<String>) -> Error {
        Error::Input { place: format!("{file}:{line}"), message: message.into() }
    }

    /// Makes a storage error from what the operating system said, such as "cannot be written".
    #[must_use]
    pub fn storage(path: &Path, doing: &str, source: std::io::Error) -> Error {
        Error::Storage { path: path.to_owned(), message: format!("{doing}: {source}"), cause: Some(source) }
    }

    /// Makes a storage error about damaged contents.
    pub(crate) fn damaged(path: &Path, message: impl Into<String>) -> Error {
        Error::Storage { path: path.to_owned(), message: message.into(), cause: None }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
