//! Laying one table of settings over another.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// Settings of which a run can have only one: whoever sets one in a higher layer takes the others out of the lower.
const EITHER: [&[&str]; 2] = [&["prompt", "template", "embed"], &["balance", "each_model"]];

/// Puts every value of `over` into `base`.
///
/// Tables are merged key by key, except that a price replaces a price as a whole (a new input price says nothing about
/// the old cached one) and so does a parameter of the user's own (`extra.reasoning` is one value, not settings of ours).
pub(super) fn lay_over(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) if key == "extra" => base.extend(over),
            (Some(Value::Table(base)), Value::Table(over)) if key != "price" => lay_over(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Returns the key of each value, `section.key` for one in a section.
pub(super) fn keys(table: &Table) -> BTreeSet<String> {
    let each = table.iter().flat_map(|(name, value)| match value {
        Value::Table(section) => section.keys().map(|key| format!("{name}.{key}")).collect(),
        _ => vec![name.clone()],
    });
    each.collect()
}

/// Takes out of `file` what `flags` must win against although it stands in another, more specific place.
pub(super) fn give_way(file: &mut Table, flags: &Table) {
    for group in EITHER.iter().filter(|group| group.iter().any(|key| flags.contains_key(*key))) {
        group.iter().for_each(|key| drop(file.remove(*key)));
    }
    for section in ["providers", "endpoints"] {
        let Some(Value::Table(section)) = file.get_mut(section) else { continue };
        section.iter_mut().filter_map(|(_, value)| value.as_table_mut()).for_each(|entry| give_way_in(entry, flags));
    }
}

fn give_way_in(entry: &mut Table, flags: &Table) {
    for key in ["base_url", "price"] {
        if flags.contains_key(key) {
            entry.remove(key);
        }
    }
    for key in ["limits", "headers"] {
        let (Some(Value::Table(ours)), Some(Value::Table(theirs))) = (entry.get_mut(key), flags.get(key)) else {
            continue;
        };
        ours.retain(|name, _| !theirs.contains_key(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(file: &str, flags: &str) -> String {
        let (mut file, flags): (Table, Table) = (file.parse().unwrap(), flags.parse().unwrap());
        give_way(&mut file, &flags);
        lay_over(&mut file, flags);
        file.to_string()
    }

    #[test]
    fn tables_merge_and_lists_are_replaced() {
        let file = "models = ['a', 'b']\n[limits]\nrpm = 5\ntpm = 7\n";
        assert_eq!(merged(file, "models = ['c']\nlimits.rpm = 9"), "models = [\"c\"]\n\n[limits]\nrpm = 9\ntpm = 7\n");
    }

    #[test]
    fn a_price_and_a_param_are_replaced_whole() {
        let file = "price = { input = 1, output = 2, cached_input = 0.1 }\nparams.extra = { a = { x = 1 }, b = 2 }";
        let flags = "price = { input = 3, output = 4 }\nparams.extra.a = { y = 1 }";
        let expected = "[params.extra]\nb = 2\n\n[params.extra.a]\ny = 1\n\n[price]\ninput = 3\noutput = 4\n";
        assert_eq!(merged(file, flags).parse::<Table>().unwrap(), expected.parse::<Table>().unwrap());
    }

    #[test]
    fn a_flag_wins_over_what_the_file_says_about_one_endpoint() {
        let file = "[endpoints.'a/b']\nlimits = { rpm = 1, tpm = 2 }\nprice = { input = 1, output = 1 }\n\
                    headers = { x-a = '1', x-b = '2' }\n[providers.a]\nbase_url = 'http://old'\nlimits.rpm = 3\n";
        let flags = "base_url = 'http://new'\nlimits.rpm = 9\nheaders.x-a = '3'\nprice = { input = 5, output = 5 }";
        let merged: Table = merged(file, flags).parse().unwrap();
        let expected: Table = "limits.tpm = 2\nheaders.x-b = '2'".parse().unwrap();
        assert_eq!(merged["endpoints"]["a/b"], Value::Table(expected));
        assert_eq!(merged["providers"]["a"], Value::Table("limits = {}".parse().unwrap()));
    }

    #[test]
    fn a_prompt_on_the_command_line_replaces_the_files_template() {
        assert_eq!(merged("template = 't'\nsystem = 's'", "prompt = 'p'"), "prompt = \"p\"\nsystem = \"s\"\n");
        assert_eq!(merged("prompt = 't'", "embed = 'text'"), "embed = \"text\"\n");
    }
}
