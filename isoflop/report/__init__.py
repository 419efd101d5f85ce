"""A fit as text, JSON, Markdown, HTML and figures."""
