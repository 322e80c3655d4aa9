"""Pages are found from the README, and their links lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


def links(page):
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [(page.parent / link).resolve() for link in found if "://" not in link]


def test_every_page_is_reached_from_the_readme_and_no_link_is_broken():
    waiting, seen = [ROOT / "README.md"], set()
    while waiting:
        page = waiting.pop()
        seen.add(page)
        targets = links(page)
        assert not [target for target in targets if not target.exists()], page
        waiting += [target for target in targets if target.suffix == ".md" and target not in seen]
    assert not sorted(page.name for page in set((ROOT / "docs").glob("*.md")) - seen)
