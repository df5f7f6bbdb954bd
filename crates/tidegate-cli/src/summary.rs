//! stub
pub(crate) fn print(
    s: &tidegate::run::summary::Summary,
    _: Option<&std::path::Path>,
    _: Option<&std::path::Path>,
    to: &mut impl std::io::Write,
) -> std::io::Result<()> {
    writeln!(to, "{s:?}")
}
