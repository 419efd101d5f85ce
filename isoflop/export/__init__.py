"""A trained run as a folder that Hugging Face's tools load. No torch."""
