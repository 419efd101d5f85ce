"""Other people's runs: tables as text, JSON, Parquet or Excel workbooks, packed or not."""
