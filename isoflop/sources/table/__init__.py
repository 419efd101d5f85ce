"""Other people's runs: tables as CSV, JSON lines or Parquet."""
