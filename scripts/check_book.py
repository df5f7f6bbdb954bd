"""Checks the built documentation site: every link leads to a page or a heading, every page of docs/ is in it."""

import html.parser
import pathlib
import sys
import urllib.parse

site = pathlib.Path(sys.argv[1])


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
problems = []
for path, page in pages.items():
    # The page for printing holds all others, with their links as they were.
    for link in page.links if path.name not in ("print.html", "404.html", "toc.html") else []:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path.resolve()
        known = {known.resolve(): known for known in pages}
        if not target.exists():
            problems.append(f"{path.relative_to(site)}: {link} leads nowhere")
        elif parts.fragment and target in known and urllib.parse.unquote(parts.fragment) not in pages[known[target]].names:
            problems.append(f"{path.relative_to(site)}: {link} has no such heading")
summary = pathlib.Path("docs/SUMMARY.md").read_text()
for page in sorted(pathlib.Path("docs").rglob("*.md")):
    name = str(page.relative_to("docs"))
    if f"({name})" not in summary and name not in ("SUMMARY.md", "design/comparison/findings.md"):
        problems.append(f"docs/{name} is not in docs/SUMMARY.md")
print("\n".join(problems) or f"book: {len(pages)} pages, every link leads somewhere", file=sys.stderr if problems else sys.stdout)
sys.exit(bool(problems))
