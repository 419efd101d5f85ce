"""The page of a report: one HTML file with plotly inside."""
