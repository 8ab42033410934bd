"""What must hold of every page that a person reads, whatever it shows."""

from __future__ import annotations

import re
from typing import Any

from lxml import html

# Fields that a person fills in.
FIELDS = "//input[not(@type='hidden')] | //select | //textarea | //progress"


def check_page(body: bytes, language: str) -> Any:
    """The parsed page; AssertionError for what a screen reader or a keyboard would stumble over.

    A language, a title, one h1, headings in order, unique ids, landmarks, and a name for every field and button.
    """
    page = html.document_fromstring(body)
    assert page.get("lang") == language
    assert " | " in page.findtext(".//title")
    levels = [int(each.tag[1]) for each in page.iter("h1", "h2", "h3", "h4", "h5", "h6")]
    main = page.xpath("//main//*[self::h1]")
    assert levels.count(1) == len(main) == 1, levels
    in_main = [int(each.tag[1]) for each in page.xpath("//main")[0].iter("h1", "h2", "h3", "h4", "h5")]
    after_h1 = in_main[in_main.index(1) :]
    assert all(later <= earlier + 1 for earlier, later in zip(after_h1, after_h1[1:], strict=False)), in_main
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids)), [each for each in ids if ids.count(each) > 1]
    assert page.xpath("//a[1][@class='usa-skipnav']/@href") == ["#main"]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.findall(f".//{landmark}")) == 1, landmark
    for field in page.xpath(FIELDS):
        label = page.xpath("string(//label[@for=$id])", id=field.get("id"))
        assert label.strip(), html.tostring(field)
    for named in page.xpath("//button | //a"):
        assert named.text_content().strip(), html.tostring(named)
    for reference in page.xpath("//@aria-describedby | //@aria-labelledby"):
        assert set(reference.split()) <= set(ids), reference
    unfilled = [text for text in page.itertext() if text.strip() == "None" or re.search(r"\{[a-z_]+\}", text)]
    assert unfilled == []
    return page
