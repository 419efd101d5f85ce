"""The figure of a report, drawn by matplotlib."""
