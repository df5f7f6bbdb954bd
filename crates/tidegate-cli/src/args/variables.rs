//! Variables in place of flags: `TIDEGATE_` and the flag's name in capitals.

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches};
use tidegate::suggest::closest;

use super::{ACTIONS, command, is_given, rivals};
use crate::keys;

const PREFIX: &str = "TIDEGATE_";

/// Variables of ours that stand for no flag.
const OTHERS: [&str; 3] = ["TIDEGATE_API_KEY", "TIDEGATE_API_KEY_FILE", "TIDEGATE_LOG"];

/// Lets a flag be given as a variable. An empty one is as good as none: that is what an unset one becomes in a compose file.
pub(super) fn read_too(arg: Arg, given: Option<&ArgMatches>) -> Arg {
    let Some(name) = variable(&arg) else { return arg };
    let is_hidden = given.is_some_and(|given| rivals(arg.get_id().as_str()).any(|rival| is_given(given, rival)));
    if !is_hidden && keys::variable(&name).is_some() { arg.env(name) } else { arg }
}

/// Returns the variable of a flag that is a setting.
fn variable(arg: &Arg) -> Option<String> {
    let id = arg.get_id().as_str();
    let is_setting = arg.get_long().is_some() && id != "help" && !ACTIONS.contains(&id);
    is_setting.then(|| format!("{PREFIX}{}", id.to_uppercase()))
}

/// Returns whether a flag's variable is set.
pub(crate) fn stands_for(flag: &str) -> bool {
    keys::variable(&of(flag)).is_some()
}

fn of(flag: &str) -> String {
    format!("{PREFIX}{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
}

/// Says of an error which variable it is about, in place of the flag that nobody gave.
pub(super) fn blamed(error: &clap::Error) -> clap::Error {
    let text = error.to_string();
    let said: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let said = said.join(" ");
    let said = said.trim_start_matches("error: ");
    let message = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => {
            let name = of(flag.split([' ', '[', '=']).next().unwrap_or_default());
            format!("{name}: {}", said.replace(&format!(" for '{flag}'"), ""))
        }
        _ => format!("a {PREFIX} variable is wrong: {said}"),
    };
    command().error(error.kind(), message)
}

/// Returns a warning about each variable that is nearly, but not quite, one of ours.
pub(crate) fn unknown() -> Vec<String> {
    let names = keys::variables_that_begin_with(PREFIX);
    // Mostly there are none, and then the flags' definitions need not be made once more.
    if names.is_empty() { Vec::new() } else { unknown_among(names) }
}

fn unknown_among(names: Vec<String>) -> Vec<String> {
    let command = command();
    let flags = command.find_subcommand("run").into_iter().flat_map(clap::Command::get_arguments);
    let known: Vec<String> = flags.filter_map(variable).chain(OTHERS.map(str::to_owned)).collect();
    let ours = |name: &str| name.trim_start_matches(PREFIX).to_owned();
    let short: Vec<String> = known.iter().map(|name| ours(name)).collect();
    let unknown = names.iter().filter(|name| !known.contains(name));
    let near = unknown.filter_map(|name| Some((name, closest(&ours(name), short.iter().map(String::as_str))?)));
    near.map(|(name, meant)| format!("{name} is no setting and counts for nothing; did you mean {PREFIX}{meant}?"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_nearly_one_of_ours_is_told() {
        let names = ["TIDEGATE_RMP", "TIDEGATE_RPM", "TIDEGATE_API_KEY", "TIDEGATE_SOMETHING_OF_MINE"];
        let said = unknown_among(names.map(str::to_owned).to_vec());
        assert_eq!(said, ["TIDEGATE_RMP is no setting and counts for nothing; did you mean TIDEGATE_RPM?"]);
    }

    #[test]
    fn an_error_names_the_variable_and_not_the_flag() {
        let blame = |words: [&str; 5]| blamed(&command().try_get_matches_from(words).unwrap_err()).to_string();
        let said = blame(["tidegate", "run", "x", "--total-rpm", "foo"]);
        assert!(said.contains("TIDEGATE_TOTAL_RPM: invalid value 'foo': not a number"), "{said}");
        let said = blame(["tidegate", "run", "x", "--pace", "fast"]);
        assert!(said.contains("TIDEGATE_PACE: invalid value 'fast' [possible values: conservative"), "{said}");
    }
}
