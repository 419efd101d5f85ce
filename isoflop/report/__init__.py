"""A fit as text, JSON, Markdown, a page and a figure."""
