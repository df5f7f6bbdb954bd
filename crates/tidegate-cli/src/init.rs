//! `tidegate init`: a configuration that explains itself, to begin with.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate::{Error, Result};

/// The arguments of `tidegate init`.
#[derive(Args)]
#[command(after_help = "Examples:\n  tidegate init\n  tidegate init labels && cd labels && tidegate run rows.jsonl")]
pub(crate) struct InitArgs {
    /// Folder to write to; made if it is not there [default: the working directory]
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) dir: PathBuf,
}

const FILES: [(&str, &str); 2] =
    [("tidegate.toml", include_str!("init/tidegate.toml")), ("prompt.txt", include_str!("init/prompt.txt"))];

/// Writes the files and returns what to do next. What is there already is left as it is.
///
/// # Errors
///
/// [`Error::Usage`] where one of the files is there; [`Error::Storage`] for a folder that cannot be written.
pub(crate) fn init(dir: &Path) -> Result<String> {
    if let Some(there) = FILES.map(|(name, _)| dir.join(name)).iter().find(|path| path.exists()) {
        return Err(Error::Usage(format!("{}: is there already; nothing was written", there.display())));
    }
    if dir.is_file() {
        return Err(Error::Usage(format!("{}: is a file; name a folder, which is made if need be", dir.display())));
    }
    std::fs::create_dir_all(dir).map_err(|error| Error::storage(dir, "cannot be made", error))?;
    for (name, text) in FILES {
        let path = dir.join(name);
        let file = std::fs::File::create_new(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Error::storage(&path, "cannot be written", error))?;
    }
    let [config, prompt] = FILES.map(|(name, _)| dir.join(name).display().to_string());
    Ok(format!(
        "{config} and {prompt} are written: a run of the simulated provider.\n\
         Name your model and your prompt there, then: tidegate run INPUT\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::run_args;
    use crate::settings;

    fn read(text: &str) -> Result<settings::Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidegate.toml");
        std::fs::write(&path, text).unwrap();
        settings::load(&run_args(&["in.jsonl", "-c", path.to_str().unwrap()]).unwrap())
    }

    #[test]
    fn the_configuration_is_valid_and_so_is_every_line_that_it_proposes() {
        let text = FILES[0].1;
        assert!(read(text).is_ok());
        let proposed: Vec<&str> = text
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|line| line.starts_with(['[']) || line.contains(" = ")).unwrap_or(line)
            })
            .collect();
        assert!(proposed.iter().filter(|line| !line.starts_with('#') && line.contains(" = ")).count() > 20);
        let all = proposed.join("\n");
        if let Err(error) = read(&all) {
            panic!("{error}\n{all}");
        }
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        init(&dir).unwrap();
        std::fs::write(dir.join("prompt.txt"), "mine").unwrap();
        std::fs::remove_file(dir.join("tidegate.toml")).unwrap();
        assert!(init(&dir).unwrap_err().to_string().contains("prompt.txt: is there already"));
        assert!(!dir.join("tidegate.toml").exists());
    }
}
