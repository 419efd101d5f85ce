"""An HTML page taken apart, strictly."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """The elements and the text of a page; refuses one whose elements do not nest."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.scripts, self._words, self._open = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        else:
            self._words.append((self._open[-1] if self._open else None, data))

    @property
    def tags(self):
        return [tag for tag, _ in self.elements]

    @property
    def text(self):
        """All text but that of scripts."""
        return "".join(data for _, data in self._words)

    def texts(self, tag):
        """The text directly inside each element `tag`."""
        return [data for parent, data in self._words if parent == tag]

    @property
    def policy(self):
        """The Content-Security-Policy by directive."""
        contents = [attrs["content"] for tag, attrs in self.elements if "http-equiv" in attrs]
        assert len(contents) == 1
        return {part.split()[0]: part.split()[1:] for part in contents[0].split(";")}
